"""What the API says of itself in OpenAPI: version 3 by group, version 2 whole, as JSON and as the protobuf that one kubectl mode asks for."""
