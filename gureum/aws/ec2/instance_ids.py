"""The form of the ids of instances and what belongs to them, and EC2's words for one that is not there."""

from __future__ import annotations

from gureum.aws.ec2.ids import IdForm

INSTANCE = IdForm("i", "instance ID", "instance", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")
KEY_PAIR = IdForm("key", "key pair ID", "key-pair", "InvalidKeyPair.NotFound", "InvalidKeyPair.Malformed")
LAUNCH_TEMPLATE = IdForm(
    "lt",
    "launch template ID",
    "launch-template",
    "InvalidLaunchTemplateId.NotFound",
    "InvalidLaunchTemplateId.Malformed",
)
VOLUME = IdForm("vol", "volume", "volume", "InvalidVolume.NotFound", "InvalidVolumeID.Malformed")
SNAPSHOT = IdForm("snap", "snapshot", "snapshot", "InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed")
PROFILE_ASSOCIATION = IdForm(
    "iip-assoc", "association ID", "", "InvalidAssociationID.NotFound", "InvalidAssociationID.Malformed"
)
PLACEMENT_GROUP = IdForm(
    "pg",
    "placement group ID",
    "placement-group",
    "InvalidPlacementGroupId.NotFound",
    "InvalidPlacementGroupId.Malformed",
)
FLEET = IdForm("fleet", "fleet ID", "fleet", "InvalidFleetId.NotFound", "InvalidFleetId.Malformed")
SPOT_FLEET = IdForm(
    "sfr",
    "spot fleet request ID",
    "spot-fleet-request",
    "InvalidSpotFleetRequestId.NotFound",
    "InvalidSpotFleetRequestId.Malformed",
)
EVENT_WINDOW = IdForm(
    "iew",
    "instance event window ID",
    "instance-event-window",
    "InvalidInstanceEventWindowId.NotFound",
    "InvalidInstanceEventWindowId.Malformed",
)
ROOT_REPLACEMENT = IdForm(
    "replacevol",
    "replace root volume task ID",
    "replace-root-volume-task",
    "InvalidReplaceRootVolumeTaskId.NotFound",
    "InvalidReplaceRootVolumeTaskId.Malformed",
)
IMPORT_TASK = IdForm(
    "import-ami",
    "import task ID",
    "import-image-task",
    "InvalidConversionTaskId",
    "InvalidConversionTaskId.Malformed",
)
CAPACITY_FLEET = IdForm(
    "crf",
    "capacity reservation fleet ID",
    "capacity-reservation-fleet",
    "InvalidCapacityReservationFleetId.NotFound",
    "InvalidCapacityReservationFleetId.Malformed",
)
