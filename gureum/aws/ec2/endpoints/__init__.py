"""VPC endpoints: to the API, to neighbours and to services of accounts' own (PrivateLink)."""
