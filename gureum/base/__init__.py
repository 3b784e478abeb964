"""What every process of gureum starts from: settings, homes, logs, ids, sealing, talk with the supervisor; and user data, which is read
here because it needs nothing else of gureum."""
