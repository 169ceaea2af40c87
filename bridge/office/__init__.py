"""What runs the bridge beside carrying messages: the watch, the management room, commands, the provisioning API."""
