"""Removes what a tour made, this one or an earlier one."""

from __future__ import annotations

from gureum.cli.demo.containers import clear_containers
from gureum.cli.demo.flows import clear_flow_logs
from gureum.cli.demo.kubernetes import clear_kubernetes
from gureum.cli.demo.machines import wait_for
from gureum.cli.demo.naming import NAME
from gureum.cli.demo.scaling import clear_group
from gureum.cli.demo.tour import Tour


def clear(tour: Tour) -> None:
    """Removes what a tour made, this one or an earlier one, found by its tag."""
    quiet, tour.quiet = tour.quiet, True
    try:
        for vpc in (
            tour.aws("ec2", "describe-vpcs", "--filters", f"Name=tag:Name,Values={NAME}", query="Vpcs[].VpcId") or []
        ):
            clear_vpc(tour, vpc)
            tour.result(f"removed {vpc} with its machines")
        tour.aws("ec2", "delete-key-pair", "--key-name", NAME, check=False)
        clear_containers(tour)
        clear_kubernetes(tour)
    finally:
        tour.quiet = quiet


def clear_vpc(tour: Tour, vpc: str) -> None:
    clear_flow_logs(tour, vpc)
    clear_group(tour)
    clear_balancers(tour, vpc)
    inside = f"Name=vpc-id,Values={vpc}"
    running = "Name=instance-state-name,Values=pending,running,stopping,stopped"
    machines = tour.aws(
        "ec2", "describe-instances", "--filters", inside, running, query="Reservations[].Instances[].InstanceId"
    )
    if machines:
        tour.aws("ec2", "terminate-instances", "--instance-ids", *machines)
        wait_for(tour, "terminated", *machines)
    for gateway in tour.aws(
        "ec2",
        "describe-internet-gateways",
        "--filters",
        f"Name=attachment.vpc-id,Values={vpc}",
        query="InternetGateways[].InternetGatewayId",
    ):
        tour.aws("ec2", "detach-internet-gateway", "--internet-gateway-id", gateway, "--vpc-id", vpc)
        tour.aws("ec2", "delete-internet-gateway", "--internet-gateway-id", gateway)
    for subnet in tour.aws("ec2", "describe-subnets", "--filters", inside, query="Subnets[].SubnetId"):
        tour.aws("ec2", "delete-subnet", "--subnet-id", subnet)
    tables = "RouteTables[?!not_null(Associations[?Main]|[0])].RouteTableId"
    for table in tour.aws("ec2", "describe-route-tables", "--filters", inside, query=tables):
        tour.aws("ec2", "delete-route-table", "--route-table-id", table)
    # A group that is named in another's rule must go after it.
    for name in ("inside", "web", "behind", "balancer"):
        groups = tour.aws(
            "ec2",
            "describe-security-groups",
            "--filters",
            inside,
            f"Name=group-name,Values={NAME}-{name}",
            query="SecurityGroups[].GroupId",
        )
        for group in groups:
            tour.aws("ec2", "delete-security-group", "--group-id", group)
    tour.aws("ec2", "delete-vpc", "--vpc-id", vpc)


def clear_balancers(tour: Tour, vpc: str) -> None:
    """Load balancers with their listeners, then the target groups; their interfaces must be gone before the subnets can go."""
    balancers = f"LoadBalancers[?VpcId=='{vpc}'].LoadBalancerArn"
    for balancer in tour.aws("elbv2", "describe-load-balancers", query=balancers) or []:
        tour.aws("elbv2", "delete-load-balancer", "--load-balancer-arn", balancer)
    for group in (
        tour.aws("elbv2", "describe-target-groups", query=f"TargetGroups[?VpcId=='{vpc}'].TargetGroupArn") or []
    ):
        tour.aws("elbv2", "delete-target-group", "--target-group-arn", group)
