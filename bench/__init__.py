"""What `pixwizard bench` measures: speed against the released procedure, answers against the exact flow."""
