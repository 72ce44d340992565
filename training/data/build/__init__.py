"""Collections of pictures and pairs to shards that are trained from: `pixwizard data build`."""
