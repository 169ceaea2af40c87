"""Meta's error codes as the Graph API answers them (Cloud API, "Error codes")."""

from __future__ import annotations

import secrets
from typing import Any

from aiohttp import web

HREF = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"
# code: (HTTP status, title, what error_data.details says when nothing better is known)
CODES: dict[int, tuple[int, str, str]] = {
    0: (401, "AuthException", "We were unable to authenticate the app user."),
    1: (400, "API Unknown", "Invalid request or possible server error."),
    2: (503, "API Service", "Temporary due to downtime or due to being overloaded."),
    3: (500, "API Method", "Capability or permissions issue."),
    4: (400, "API Too Many Calls", "The app has reached its API call rate limit."),
    10: (403, "Permission Denied", "Permission is either not granted or has been removed."),
    33: (400, "Parameter value is not valid", "The business phone number has been deleted."),
    100: (400, "Invalid parameter", "The request included one or more unsupported or misspelled parameters."),
    190: (401, "Invalid OAuth access token.", "Your access token has expired or is invalid."),
    200: (403, "API Permission", "Permission is either not granted or has been removed."),
    368: (403, "Temporarily blocked for policies violations", "The account has been restricted or disabled."),
    80007: (400, "Rate limit issues", "The WhatsApp Business Account has reached its rate limit."),
    130429: (400, "Rate limit hit", "Cloud API message throughput has been reached."),
    130472: (400, "User's number is part of an experiment", "Message was not sent as part of an experiment."),
    130497: (403, "Business account is restricted from messaging users in this country.", "Restricted country."),
    131000: (500, "Something went wrong", "Message failed to send due to an unknown error."),
    131005: (403, "Access denied", "Permission is either not granted or has been removed."),
    131008: (400, "Required parameter is missing", "The request is missing a required parameter."),
    131009: (400, "Parameter value is not valid", "One or more parameter values are invalid."),
    131016: (500, "Service unavailable", "A service is temporarily unavailable."),
    131020: (400, "Invalid group", "Messages can't be sent to a group with one member only."),
    131021: (400, "Recipient cannot be sender", "Sender and recipient phone number is the same."),
    131026: (400, "Message undeliverable", "Message Undeliverable."),
    131031: (403, "Account has been locked", "Business Account locked."),
    131037: (400, "Display name approval is needed", "The phone number has no approved display name."),
    131041: (400, "Unknown group", "The group was not found: it does not exist or you are no member."),
    131042: (400, "Business eligibility payment issue", "There was an error related to your payment method."),
    131045: (500, "Incorrect certificate", "Message failed to send due to a phone number registration error."),
    131047: (
        400,
        "Re-engagement message",
        "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
    ),
    131048: (400, "Spam rate limit hit", "Message failed to send because of restrictions on this phone number."),
    131049: (400, "Meta chose not to deliver.", "This message was not delivered to maintain healthy ecosystem engagement."),
    131051: (400, "Message type unknown", "Message type is currently not supported."),
    131052: (400, "Media download error", "Unable to download the media sent by the user."),
    131053: (400, "Media upload error", "Unable to upload the media used in the message."),
    131056: (
        400,
        "(Business Account, Consumer Account) pair rate limit hit",
        "Message failed to send because there were too many messages sent from this phone number to the same phone number.",
    ),
    131057: (500, "Account in maintenance mode", "Business Account is in maintenance mode."),
    131059: (400, "Invalid cursor", "The cursor has expired or is broken."),
    131060: (400, "This message is unavailable", "This message is currently unavailable."),
    131062: (400, "BSUID recipients are not supported", "Business-scoped User ID recipients are not supported for this message."),
    131204: (400, "Too many participants", "The number of participants exceeds the limit of the group."),
    131207: (403, "Group suspended", "The group violates the platform's policies."),
    131208: (429, "Group rate limit hit", "This phone number did too many group operations in a short time."),
    132000: (400, "Number of parameters does not match the expected number of params", "The numbers differ."),
    132001: (404, "Template name does not exist in the translation", "The template does not exist or is not approved."),
    132005: (400, "Translated text too long", "The translated text is too long."),
    132007: (400, "Template format character policy violated", "The template content violates a WhatsApp policy."),
    132012: (400, "Parameter format does not match format in the created template", "Wrong format of a parameter."),
    132015: (400, "Template is paused", "The template is paused due to low quality."),
    132016: (400, "Template is disabled", "The template has been disabled for good."),
    133005: (400, "Two step verification PIN mismatch", "The two-step verification PIN is incorrect."),
    133010: (400, "Phone number not registered", "The phone number is not registered on the WhatsApp Business Platform."),
    133016: (400, "Register or deregister rate limit hit", "Too many attempts for this phone number."),
    2593107: (400, "Synchronization request limit exceeded", "The sync API may be called once for each kind."),
    2593108: (
        400,
        "Synchronization request made outside of allowed time window",
        "It must be made within 24 hours of onboarding.",
    ),
    2593109: (
        400,
        "History sync is turned off by the business from the WhatsApp Business App",
        "History sharing is turned off by the business",
    ),
}


class GraphError(Exception):
    """A refusal with one of Meta's codes; `details` overrides the usual explanation, `status` the usual HTTP status."""

    def __init__(self, code: int, details: str = "", *, status: int = 0, subcode: int = 0) -> None:
        usual, self.title, told = CODES.get(code, (400, "Unknown error", "Unknown error."))
        self.code, self.details, self.status, self.subcode = code, details or told, status or usual, subcode
        super().__init__(f"(#{code}) {self.title}")

    def response(self) -> web.Response:
        """The body of a refusal, as Graph answers it."""
        error: dict[str, Any] = {
            "message": self.details if self.code == 100 and self.subcode else str(self),
            "type": "GraphMethodException" if self.subcode == 33 else "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": "A" + secrets.token_urlsafe(16),
        }
        if self.subcode:
            error["error_subcode"] = self.subcode
        return web.json_response({"error": error}, status=self.status)

    def told(self) -> dict[str, Any]:
        """The same refusal as webhooks tell it: in a failed status, an unsupported message, or beside no message at all."""
        error = {"code": self.code, "title": self.title, "message": self.title, "error_data": {"details": self.details}}
        return {**error, "href": HREF}


def missing(object_id: str) -> GraphError:
    """What Graph says of an object that is not there, has expired, or is not this token's."""
    told = f"Unsupported request. Object with ID '{object_id}' does not exist, cannot be loaded due to missing permissions, "
    return GraphError(100, told + "or does not support this operation.", subcode=33)
