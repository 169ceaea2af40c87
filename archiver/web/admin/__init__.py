"""The admin's pages: officials, the organisation, health, bridged numbers."""
