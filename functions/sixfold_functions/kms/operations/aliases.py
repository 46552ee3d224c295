"""Operations on aliases: names for keys that can be moved from one key to another."""

from __future__ import annotations

from sixfold_events.kms import AliasChanged
from sixfold_functions.kms import deciding, keyring
from sixfold_functions.kms.deciding import Call, Outcome, Refused
from sixfold_functions.kms.operations import described

ALIASES_MAX = 50
"""Of one key, as AWS's."""


def checked(alias: str) -> str:
    """A name that a user's alias may have. Raises Refused."""
    if alias.startswith("alias/aws/"):
        raise Refused("NotAuthorizedException", "")
    if not alias.startswith("alias/") or alias == "alias/":
        raise Refused("ValidationException", "Invalid identifier")
    if ":" in alias:
        raise Refused("InvalidAliasNameException", f"{alias} contains invalid characters for an alias")
    if not keyring.ALIAS.match(alias):
        raise Refused("InvalidAliasNameException", "expected alias/ and 1 to 250 letters, digits, /, _ or -")
    return alias


def create_alias(call: Call) -> Outcome:
    """CreateAlias; who may tag a key with a name needs the permission on the key."""
    alias = checked(call.get("AliasName", ""))
    target = call.get("TargetKeyId", "")
    if "alias/" in target:
        raise Refused("ValidationException", "Aliases must refer to keys. Not aliases")
    key = deciding.use(call, named=target)
    return Outcome({}, keyring.key_arn(key), (made(call, alias, key.key_id),))


def made(call: Call, alias: str, key_id: str) -> AliasChanged:
    """A new alias. Raises Refused where there is one of this name, or where the key has as many as it may."""
    region = call.region
    if alias in region.aliases:
        arn = keyring.arn_prefix(region.name) + alias
        raise Refused("AlreadyExistsException", f"An alias with the name {arn} already exists")
    if len(region.aliases_of(key_id)) >= ALIASES_MAX:
        raise Refused("LimitExceededException", f"A key has {ALIASES_MAX} aliases at most")
    now_ms = call.service.now_ms
    entry = keyring.entry(region.name, alias)
    return AliasChanged(
        entry=entry, alias=alias, key_id=key_id, changed_at_ms=now_ms, created_at_ms=now_ms, region=region.name
    )


def update_alias(call: Call) -> Outcome:
    """UpdateAlias: from one key to another of the same kind; both must permit it."""
    alias = checked(call.get("AliasName", ""))
    known = _known(call, alias)
    before = deciding.allowed(call, call.region.find(known.key_id), call.operation)
    key = deciding.use(call, named=call.get("TargetKeyId", ""))
    if (before.usage, before.spec == "SYMMETRIC_DEFAULT") != (key.usage, key.spec == "SYMMETRIC_DEFAULT"):
        raise Refused("ValidationException", "An alias moves between keys of the same type and usage only")
    changed = AliasChanged(
        entry=known.entry,
        alias=alias,
        key_id=key.key_id,
        changed_at_ms=call.service.now_ms,
        created_at_ms=known.created_at_ms or known.changed_at_ms,
        region=call.region.name,
    )
    return Outcome({}, keyring.key_arn(key), (changed,))


def delete_alias(call: Call) -> Outcome:
    """DeleteAlias; the key stays."""
    known = _known(call, call.get("AliasName", ""))
    key = deciding.use(call, named=known.key_id)
    gone = AliasChanged(
        entry=known.entry, alias=known.alias, key_id="", changed_at_ms=call.service.now_ms, region=call.region.name
    )
    return Outcome({}, keyring.key_arn(key), (gone,))


def _known(call: Call, alias: str) -> AliasChanged:
    found = call.region.aliases.get(alias)
    if found is None:
        raise Refused("NotFoundException", f"Alias {keyring.arn_prefix(call.region.name)}{alias} is not found.")
    return found


def list_aliases(call: Call) -> Outcome:
    """ListAliases, of one key or of all, in the order of their names."""
    arn, of = "", ""
    if call.get("KeyId"):
        key = deciding.use(call)
        arn, of = keyring.key_arn(key), key.key_id
    else:
        deciding.allowed_anywhere(call)
    found = [
        {
            "AliasName": each.alias,
            "AliasArn": keyring.arn_prefix(call.region.name) + each.alias,
            "TargetKeyId": each.key_id,
            "CreationDate": described.moment(each.created_at_ms or each.changed_at_ms),
            "LastUpdatedDate": described.moment(each.changed_at_ms),
        }
        for each in sorted(call.region.aliases.values(), key=lambda each: each.alias)
        if not of or each.key_id == of
    ]
    return Outcome(described.page(call, found, "Aliases", default=50), arn)
