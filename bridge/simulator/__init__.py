"""A local stand-in for the WhatsApp Cloud API, for the demo and the tests: docs/simulator.md.

world: who and what there is. graph, sending, checks, media, templates, groups, history: what a business calls. bodies, webhook,
receipts: what it is told. phones: what people do on theirs. control, calls, accounts, offices, people, chats: the control API.
knobs: disorder and failures on request. page.html: the phone on which a person plays a contact.
"""
