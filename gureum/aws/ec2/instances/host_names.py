"""DNS names of addresses, as EC2 forms them (docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html). Pure."""

from __future__ import annotations


def private_domain(region: str) -> str:
    """ "ec2.internal" in us-east-1, "eu-west-1.compute.internal" elsewhere."""
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"


def public_domain(region: str) -> str:
    """ "compute-1.amazonaws.com" in us-east-1, "eu-west-1.compute.amazonaws.com" elsewhere."""
    return "compute-1.amazonaws.com" if region == "us-east-1" else f"{region}.compute.amazonaws.com"


def private_name(region: str, address: str) -> str:
    """10.0.1.5 → "ip-10-0-1-5.ec2.internal"."""
    return f"ip-{address.replace('.', '-')}.{private_domain(region)}"


def resource_name(region: str, instance_id: str) -> str:
    """ "i-0123456789abcdef0.ec2.internal". AWS: "EC2 instance hostnames and domains", resource name."""
    return f"{instance_id}.{private_domain(region)}"


def public_name(region: str, address: str) -> str:
    """198.18.16.5 → "ec2-198-18-16-5.compute-1.amazonaws.com"."""
    return f"ec2-{address.replace('.', '-')}.{public_domain(region)}"


def reverse_name(address: str) -> str:
    """10.0.1.5 → "5.1.0.10.in-addr.arpa"."""
    return f"{'.'.join(reversed(address.split('.')))}.in-addr.arpa"
