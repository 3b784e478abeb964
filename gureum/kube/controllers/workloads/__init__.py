"""What makes pods and ends them: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs; with autoscalers and disruption budgets."""
