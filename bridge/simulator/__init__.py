"""A local stand-in for the WhatsApp Cloud API, for the demo and the tests."""
