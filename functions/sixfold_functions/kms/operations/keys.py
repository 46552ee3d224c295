"""Operations on keys themselves: made, described, listed, switched on and off, named, tagged."""

from __future__ import annotations

import json
import uuid

from msgspec.structs import replace

from sixfold_events.kms import KeyChanged
from sixfold_functions.kms import asymmetric, blob, deciding, keyring, macs, specs
from sixfold_functions.kms.deciding import Call, Outcome, Refused, invalid
from sixfold_functions.kms.operations import described
from sixfold_functions.policies import policy as policies

TAGS_MAX = 50


def create_key(call: Call) -> Outcome:
    """CreateKey."""
    service = call.service
    deciding.allowed_anywhere(call, f"{keyring.arn_prefix(call.region.name)}key/*")
    spec, usage = _kind(call)
    origin = call.get("Origin", "AWS_KMS")
    if origin not in ("AWS_KMS", "EXTERNAL") or call.get("CustomKeyStoreId") or call.get("XksKeyId"):
        raise Refused("UnsupportedOperationException", "Key stores of one's own are not supported.")
    strangers = service.ring.root_ids() - {service.domain.root_id}
    if strangers:
        raise Refused(
            "KMSInternalException",
            f"there are keys of root key {min(strangers)}, but {service.domain.root_id} is open; restore the root key first",
        )
    drawn = service.entropy(16)
    multi_region = bool(call.get("MultiRegion"))
    key_id = f"mrk-{drawn.hex()}" if multi_region else str(uuid.UUID(bytes=drawn, version=4))
    key = KeyChanged(
        entry=keyring.entry(call.region.name, f"key/{key_id}"),
        key_id=key_id,
        description=described.check_description(call.get("Description", "")),
        versions={},
        current_version="",
        root_id=service.domain.root_id,
        created_at_ms=service.now_ms,
        state="Enabled" if origin == "AWS_KMS" else "PendingImport",
        region=call.region.name,
        spec=spec.name,
        usage=usage,
        origin=origin,
        policy=_policy(call, key_id),
        tags=described.tags_of(call.get("Tags", ())),
        multi_region="PRIMARY" if multi_region else "",
        primary_region=call.region.name if multi_region else "",
    )
    if origin == "AWS_KMS":
        key = with_material(call, key, _made(call, spec), "")
    return Outcome({"KeyMetadata": described.metadata(key)}, keyring.key_arn(key), (key,))


def with_material(call: Call, key: KeyChanged, material: bytes, kind: str) -> KeyChanged:
    """`key` with one more version of its material, which is the current one from now on."""
    service = call.service
    version = service.entropy(16).hex()
    wrapped = keyring.wrap(service.domain, key.key_id, version, material, service.entropy)
    public = asymmetric.public_of(material) if specs.SPECS[key.spec].asymmetric else b""
    facts = json.dumps({"at_ms": service.now_ms, "kind": kind})
    return replace(
        key,
        versions={**key.versions, version: wrapped},
        current_version=version,
        version_facts={**key.version_facts, version: facts},
        public_key=public,
    )


def _kind(call: Call) -> tuple[specs.Spec, str]:
    """The spec and the usage that are asked for. Raises Refused for two that do not go together."""
    name = call.get("KeySpec") or call.get("CustomerMasterKeySpec") or specs.SYMMETRIC
    if call.get("KeySpec") and call.get("CustomerMasterKeySpec"):
        raise invalid("You cannot specify KeySpec and CustomerMasterKeySpec in the same request.")
    spec = specs.SPECS.get(name)
    if spec is None:
        raise Refused("UnsupportedOperationException", f"Key spec {name} is not supported here.")
    usage = call.get("KeyUsage") or (specs.ENCRYPT if name == specs.SYMMETRIC else "")
    if not usage:
        raise invalid("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
    if usage not in spec.usages:
        raise invalid(f"KeyUsage {usage} is not compatible with KeySpec {name}")
    return spec, usage


def _made(call: Call, spec: specs.Spec) -> bytes:
    """New key material."""
    if spec.asymmetric:
        return call.service.generate(spec.name)
    size = macs.key_bytes(spec.name) if spec.name.startswith("HMAC_") else blob.KEY_BYTES
    return call.service.entropy(size)


def _policy(call: Call, key_id: str) -> str:
    """The policy that is asked for, checked. Raises Refused."""
    text: str = call.get("Policy") or ""
    return checked_policy(call, text, f"{keyring.arn_prefix(call.region.name)}key/{key_id}") if text else ""


def checked_policy(call: Call, text: str, arn: str) -> str:
    """A policy of the key `arn` that can be read, and that leaves its author able to change it. Raises Refused."""
    try:
        policy = policies.of_key(text)
    except policies.MalformedPolicyError as error:
        raise Refused("MalformedPolicyDocumentException", str(error)) from error
    if not call.get("BypassPolicyLockoutSafetyCheck"):
        names = [policies.Principal("AWS", arn) for arn in (*call.caller.arns, deciding.ROOT_ARN)]
        asked = policies.Request("kms:PutKeyPolicy", arn, call.caller.context, names)
        if not policies.evaluate([policy], asked).allowed:
            raise Refused(
                "MalformedPolicyDocumentException",
                "The new key policy will not allow you to update the key policy in the future.",
            )
    return text


def describe_key(call: Call) -> Outcome:
    """DescribeKey."""
    key = deciding.use(call)
    found = described.metadata(key)
    if key.multi_region:
        found["MultiRegionConfiguration"] = regions_of(key)
    return Outcome({"KeyMetadata": found}, keyring.key_arn(key))


def regions_of(key: KeyChanged) -> dict[str, object]:
    """`MultiRegionConfiguration`."""

    def at(region: str) -> dict[str, str]:
        return {"Arn": f"{keyring.arn_prefix(region)}key/{key.key_id}", "Region": region}

    return {
        "MultiRegionKeyType": key.multi_region,
        "PrimaryKey": at(key.primary_region),
        "ReplicaKeys": [at(region) for region in key.replica_regions],
    }


def list_keys(call: Call) -> Outcome:
    """ListKeys, in the order of their ids."""
    deciding.allowed_anywhere(call)
    found = [
        {"KeyId": key.key_id, "KeyArn": keyring.key_arn(key)}
        for key in sorted(call.region.keys.values(), key=lambda key: key.key_id)
    ]
    return Outcome(described.page(call, found, "Keys"))


def enable_key(call: Call) -> Outcome:
    """EnableKey."""
    key = deciding.use(call)
    return Outcome({}, keyring.key_arn(key), (replace(key, state="Enabled"),))


def disable_key(call: Call) -> Outcome:
    """DisableKey."""
    key = deciding.use(call)
    return Outcome({}, keyring.key_arn(key), (replace(key, state="Disabled"),))


def update_description(call: Call) -> Outcome:
    """UpdateKeyDescription."""
    key = deciding.use(call)
    text = described.check_description(call.get("Description", ""))
    return Outcome({}, keyring.key_arn(key), (replace(key, description=text),))


def tag_resource(call: Call) -> Outcome:
    """TagResource."""
    key = deciding.use(call)
    tags = {**key.tags, **described.tags_of(call.get("Tags", ()))}
    if len(tags) > TAGS_MAX:
        raise Refused("LimitExceededException", f"A key has {TAGS_MAX} tags at most")
    return Outcome({}, keyring.key_arn(key), (replace(key, tags=tags),))


def untag_resource(call: Call) -> Outcome:
    """UntagResource; a tag that is not there is taken away already."""
    key = deciding.use(call)
    gone = set(call.get("TagKeys", ()))
    kept = {name: value for name, value in key.tags.items() if name not in gone}
    return Outcome({}, keyring.key_arn(key), (replace(key, tags=kept),))


def list_tags(call: Call) -> Outcome:
    """ListResourceTags."""
    key = deciding.use(call)
    found = [{"TagKey": name, "TagValue": value} for name, value in key.tags.items()]
    return Outcome(described.page(call, found, "Tags", default=50), keyring.key_arn(key))


def get_policy(call: Call) -> Outcome:
    """GetKeyPolicy."""
    key = deciding.use(call)
    _check_name(call)
    text = key.policy or deciding.DEFAULT_POLICY
    return Outcome({"Policy": text, "PolicyName": deciding.POLICY_NAME}, keyring.key_arn(key))


def put_policy(call: Call) -> Outcome:
    """PutKeyPolicy."""
    key = deciding.use(call)
    _check_name(call)
    text = checked_policy(call, call.get("Policy", ""), keyring.key_arn(key))
    return Outcome({}, keyring.key_arn(key), (replace(key, policy=text),))


def list_policies(call: Call) -> Outcome:
    """ListKeyPolicies: there is one."""
    key = deciding.use(call)
    return Outcome({"PolicyNames": [deciding.POLICY_NAME], "Truncated": False}, keyring.key_arn(key))


def _check_name(call: Call) -> None:
    if call.get("PolicyName", deciding.POLICY_NAME) != deciding.POLICY_NAME:
        raise Refused("NotFoundException", "No such policy exists")
