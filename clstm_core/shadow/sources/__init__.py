"""Where a shadow account's sessions come from: a market that is at hand, a folder that files arrive in, a feed."""
