"""The Wattbook feed: sessions, messages as dataclasses, signed quotes. `docs/feed.md` says what is sent when."""

from . import messages
from .messages import *
from .orders import (
    Cancel,
    Candidacy,
    CandidateKeys,
    Emission,
    Meter,
    Quote,
    Registration,
    Reveal,
    Role,
    Seal,
    SelfTrade,
    TimeInForce,
    Vote,
    contract_id,
)
from .session import (
    Disconnected,
    LoginRefused,
    LogonRefused,
    Received,
    Session,
    SessionError,
    Untrusted,
    follow,
    replay,
)
from .signing import SigningKey, SigningUnavailable, client_secret, reveal_salt
from .soupbin import FramingError
from .subscriber import Lost, Subscriber
from .tls import trust

__all__ = [
    "Cancel",
    "Candidacy",
    "CandidateKeys",
    "Disconnected",
    "Emission",
    "FramingError",
    "LoginRefused",
    "LogonRefused",
    "Lost",
    "Meter",
    "Quote",
    "Received",
    "Registration",
    "Reveal",
    "Role",
    "Seal",
    "SelfTrade",
    "Session",
    "SessionError",
    "SigningKey",
    "SigningUnavailable",
    "Subscriber",
    "TimeInForce",
    "Untrusted",
    "Vote",
    "client_secret",
    "contract_id",
    "follow",
    "replay",
    "reveal_salt",
    "trust",
]
__all__ += messages.__all__
