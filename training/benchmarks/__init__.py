"""The field's benchmarks on data sets in their own layouts: readers, metrics, protocols, reports."""
