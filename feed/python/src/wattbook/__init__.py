"""The Wattbook feed: sessions, messages as dataclasses, signed quotes. `docs/feed.md` says what is sent when."""

from . import messages
from .messages import *
from .orders import Cancel, Quote, SelfTrade, TimeInForce, contract_id
from .session import (
    Disconnected,
    LoginRefused,
    LogonRefused,
    Received,
    Session,
    SessionError,
    follow,
    replay,
)
from .signing import SigningKey, SigningUnavailable
from .soupbin import FramingError

__all__ = [
    "Cancel",
    "Disconnected",
    "FramingError",
    "LoginRefused",
    "LogonRefused",
    "Quote",
    "Received",
    "SelfTrade",
    "Session",
    "SessionError",
    "SigningKey",
    "SigningUnavailable",
    "TimeInForce",
    "contract_id",
    "follow",
    "replay",
]
__all__ += messages.__all__
