"""How people ask for things, in more words than the templates of the network: for the task predictor."""
