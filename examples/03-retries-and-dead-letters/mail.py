"""What fails for now is tried again, what fails for good is set aside. README.md beside it has the whole rule."""

import json
from pathlib import Path

from sixfold import Context, Event, PermanentError, Retry, TemporaryError, function


class MailRequested(Event, key="to"):
    """Somebody should get a mail."""

    to: str
    text: str


class MailSent(Event, key="to"):
    """It is in the outbox."""

    to: str
    message_id: str


@function(
    on=MailRequested,
    emits=[MailSent],
    retry=Retry(attempts_max=5, backoff_s=1.0, backoff_max_s=60.0),
    timeout_s=10.0,
    ordering="key",
    concurrency=8,
)
async def send_mail(mail: MailRequested, ctx: Context) -> None:
    """Put a mail into the outbox folder, once however often the event is delivered."""
    if "@" not in mail.to:
        raise PermanentError(f"{mail.to!r} is no address")
    outbox = Path(ctx.data_dir) / "outbox"
    if not outbox.is_dir():
        raise TemporaryError(f"{outbox} is not there yet", delay_s=5.0)
    # The event's id is the same for every delivery, so it names the file: sending twice is sending once.
    (outbox / f"{ctx.event_id}.json").write_text(json.dumps({"to": mail.to, "text": mail.text}))
    ctx.emit(MailSent(to=mail.to, message_id=ctx.event_id))
