"""Policy documents: what is refused when stored, and that evaluation agrees with a slow reference."""

from __future__ import annotations

import fnmatch
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixfold_functions.policies import conditions, policy

ISSUER = "https://login.example.com"


def trust(**condition: Any) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": ISSUER},
        "Action": policy.WEB_IDENTITY,
        "Condition": condition or {"StringEquals": {"login.example.com:sub": "alice"}},
    }
    return json.dumps({"Version": policy.VERSION, "Statement": [statement]})


def permission(*statements: dict[str, Any]) -> policy.Policy:
    return policy.permission(json.dumps({"Version": policy.VERSION, "Statement": list(statements)}))


def allow(**more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*", **more}


TEAM = "aws:PrincipalTag/team"


def ask(document: policy.Policy, **tags: str) -> bool:
    found = {f"aws:PrincipalTag/{name}": (value,) for name, value in tags.items()}
    return policy.evaluate([document], policy.Request("kms:Decrypt", "arn:aws:kms:key/1", found)).allowed


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"login.example.com:aud": "sixfold"}},
        {"StringLike": {"login.example.com:sub": "*"}},
        {"StringLike": {"login.example.com:sub": ["repo:*", "**"]}},
        {"StringEqualsIfExists": {"login.example.com:sub": "alice"}},
        {"ForAllValues:StringEquals": {"login.example.com:sub": "alice"}},
        {"StringNotEquals": {"login.example.com:sub": "mallory"}},
    ],
)
def test_a_trust_policy_that_does_not_pin_the_subject_is_refused(condition: dict[str, Any]) -> None:
    """Trusting every subject of an issuer is never stored by accident."""
    with pytest.raises(policy.MalformedPolicyError, match="every token of it would do"):
        policy.trust(trust(**condition))


@pytest.mark.parametrize("key", ["other.example.com:sub", "login.example.com:", "aws:PrincipalTag/team", "sub"])
def test_a_trust_policy_with_a_condition_key_that_no_token_gives_is_refused(key: str) -> None:
    """Its condition would never hold, so a Deny of it would never apply."""
    with pytest.raises(policy.MalformedPolicyError, match=r"expected login\.example\.com:CLAIM"):
        policy.trust(trust(StringEquals={"login.example.com:sub": "alice", key: "alice"}))


def test_a_trust_policy_that_pins_the_subject_is_taken() -> None:
    """A positive operator on `<issuer>:sub` with a value that says something is enough."""
    assert policy.trust(trust())
    assert policy.trust(trust(StringLike={"login.example.com:sub": "repo:acme/*"}))
    assert policy.trust(trust(StringEquals={"Login.Example.com:SUB": "alice"}))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (allow(Condition={"StringMatches": {TEAM: "b"}}), "operator 'StringMatches' is unknown"),
        (allow(Condition={"ForEachValue:StringLike": {TEAM: "b"}}), "is unknown"),
        (allow(Condition={"ForAllValues:StringEquals": {"kms:EncryptionContext:topic": "x"}}), "ForAllValues"),
        (allow(Condition={"NumericLessThan": {TEAM: "many"}}), "expected a number"),
        (allow(Condition={"Bool": {TEAM: "perhaps"}}), "expected true or false"),
        (allow(Condition={"Null": {TEAM: "maybe"}}), "expected true or false"),
        (allow(Condition={"StringEquals": {TEAM: "${aws:PrincipalTag/team}"}}), "policy variable"),
        (allow(Condition={"StringEquals": {}}), "expected an object"),
        (allow(Condition=[]), "expected an object"),
        (
            allow(Condition={"StringEquals": {"kms:EncryptionContxt:env": "prod"}}),
            "'kms:EncryptionContxt:env' is unknown",
        ),
        (allow(Condition={"StringEquals": {"kms:EncryptionContext:": "prod"}}), "is unknown"),
        (allow(Condition={"Null": {"aws:PrincipalTag": "true"}}), "known are aws:PrincipalArn"),
        (allow(Condition={"StringEquals": {"login.example.com:sub": "alice"}}), "is unknown"),
        (allow(Effect="allow"), "Effect"),
        (allow(NotAction="kms:*"), "either Action or NotAction"),
        (allow(NotPrincipal="*"), "unknown element"),
        (allow(Principal={"Federated": ISSUER}), "trust policy"),
        ({"Effect": "Allow", "Action": "kms:Decrypt"}, "Resource is missing"),
        (allow(Action=[]), "Action"),
        (allow(Action=7), "Action"),
    ],
)
def test_a_permission_policy_with_anything_unknown_is_refused_when_it_is_stored(
    statement: dict[str, Any], message: str
) -> None:
    """What the evaluator does not know never becomes a policy that means something else."""
    with pytest.raises(policy.MalformedPolicyError, match=re.escape(message)):
        permission(statement)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"Version": "2008-10-17", "Statement": []}',
        '{"Version": "2012-10-17", "Statement": []}',
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}]}',
        "[" * 5000,
        '{"Version": "2012-10-17", "Statement": "' + "x" * 20_000 + '"}',
    ],
)
def test_a_text_that_is_no_policy_is_refused(text: str) -> None:
    """Broken JSON, a key that stands twice, another version, too much of it: each a clear error."""
    with pytest.raises(policy.MalformedPolicyError):
        policy.permission(text)


def test_an_explicit_deny_wins_over_any_allow_wherever_it_stands() -> None:
    """The order of statements and of policies does not matter."""
    deny = {"Effect": "Deny", "Action": "kms:*", "Resource": "*", "Condition": {"StringEquals": {TEAM: "guests"}}}
    for document in (permission(allow(), deny), permission(deny, allow())):
        assert ask(document, team="risk")
        assert not ask(document, team="guests")
    request = policy.Request("kms:Decrypt", "*", {TEAM: ("guests",)})
    assert not policy.evaluate([permission(allow()), permission(deny)], request).allowed


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    """The default is no."""
    assert not policy.evaluate([], policy.Request("kms:Decrypt", "*", {})).allowed
    assert not ask(permission(allow(Action="kms:GenerateDataKey")))
    assert not ask(permission(allow(Resource="arn:aws:kms:key/2")))


def test_a_claim_and_an_encryption_context_open_a_key_together() -> None:
    """Topic payments may be opened by claim team=risk, and by nobody else."""
    document = permission(
        allow(Condition={"StringEquals": {"aws:PrincipalTag/team": "risk", "kms:EncryptionContext:topic": "payments"}})
    )

    def opens(team: str, topic: str) -> bool:
        context = {"aws:PrincipalTag/team": (team,), "kms:EncryptionContext:topic": (topic,)}
        return policy.evaluate([document], policy.Request("kms:Decrypt", "k", context)).allowed

    assert opens("risk", "payments")
    assert not opens("risk", "salaries")
    assert not opens("sales", "payments")
    assert not ask(document)


def test_an_absent_key_fails_positive_operators_and_satisfies_negated_ones() -> None:
    """As AWS has it; IfExists makes absence satisfy either."""
    assert not ask(permission(allow(Condition={"StringEquals": {TEAM: "risk"}})))
    assert ask(permission(allow(Condition={"StringEqualsIfExists": {TEAM: "risk"}})))
    assert ask(permission(allow(Condition={"StringNotEquals": {TEAM: "risk"}})))
    assert ask(permission(allow(Condition={"Null": {TEAM: "true"}})))
    assert not ask(permission(allow(Condition={"Null": {TEAM: "true"}})), team="risk")


@pytest.mark.parametrize("key", ["kms:EncryptionContext:env", "kms:encryptioncontext:ENV", "KMS:ENCRYPTIONCONTEXT:env"])
def test_a_condition_key_is_the_same_in_any_case(key: str) -> None:
    """As in AWS: a Deny on `kms:encryptioncontext:env` applies to a request with the context env=prod."""
    document = permission(allow(), allow(Effect="Deny", Condition={"StringEquals": {key: "prod"}}))

    def opens(**context: str) -> bool:
        found = {f"kms:EncryptionContext:{name}": (value,) for name, value in context.items()}
        return policy.evaluate([document], policy.Request("kms:Decrypt", "k", found)).allowed

    assert not opens(env="prod")
    assert not opens(Env="prod")
    assert not opens(env="test", ENV="prod")
    assert opens(env="test")
    assert opens(env="PROD")


def test_a_claim_is_the_same_principal_tag_in_any_case() -> None:
    """Only names of keys are compared so; their values are what they are."""
    document = permission(allow(Condition={"StringEquals": {"AWS:principaltag/Team": "risk"}}))
    assert ask(document, team="risk")
    assert ask(document, TEAM="risk")
    assert not ask(document, team="Risk")


# The slow reference: written from AWS's page, with the standard library's pattern matcher and no shared code.

TEXTS = st.text(alphabet="abAB*?[]", max_size=6)
KEYS = st.sampled_from([f"aws:PrincipalTag/{name}" for name in ("k1", "k2", "k3")])
NAMES = st.sampled_from(
    ["StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase", "NumericLessThan"]
)
OPERATORS = st.builds(
    lambda prefix, name, suffix: prefix + name + suffix,
    st.sampled_from(["", "", "ForAnyValue:", "ForAllValues:"]),
    NAMES,
    st.sampled_from(["", "IfExists"]),
)


def reference_like(value: str, pattern: str) -> bool:
    translated = fnmatch.translate(pattern.replace("[", "[[]"))
    return re.match(translated, value) is not None


def reference_one(name: str, value: str, wanted: str) -> bool:
    """Whether value and wanted agree, for the operator without its negation."""
    if "Like" in name:
        return reference_like(value, wanted)
    if "IgnoreCase" in name:
        return value.lower() == wanted.lower()
    if "Numeric" in name:
        try:
            return float(value) < float(wanted)
        except ValueError:
            return False
    return value == wanted


def reference_line(operator: str, values: list[str], wanted: list[str]) -> bool:
    quantifier, _, rest = operator.rpartition(":")
    name = rest.replace("IfExists", "")
    negated = "Not" in name
    if not values:
        if operator.endswith("IfExists") or quantifier == "ForAllValues":
            return True
        return negated and quantifier == ""
    agreeing = [any(reference_one(name, value, each) for each in wanted) for value in values]
    if quantifier == "ForAnyValue":
        return any(not each for each in agreeing) if negated else any(agreeing)
    if quantifier == "ForAllValues":
        return all(not each for each in agreeing) if negated else all(agreeing)
    return not any(agreeing) if negated else any(agreeing)


def reference(statements: list[dict[str, Any]], action: str, resource: str, context: dict[str, list[str]]) -> bool:
    verdict = False
    for statement in statements:
        if not any(reference_like(action.lower(), each.lower()) for each in statement["Action"]):
            continue
        if not any(reference_like(resource, each) for each in statement["Resource"]):
            continue
        lines = [(op, key, values) for op, block in statement["Condition"].items() for key, values in block.items()]
        if all(reference_line(op, context.get(key, []), values) for op, key, values in lines):
            if statement["Effect"] == "Deny":
                return False
            verdict = True
    return verdict


def numeric(operator: str, values: list[str]) -> list[str]:
    return [str(len(value)) for value in values] if "Numeric" in operator else values


STATEMENTS = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Allow", "Deny"]),
        "Action": st.lists(
            st.sampled_from(["kms:*", "KMS:decrypt", "kms:Gen?rate*", "*", "s3:*"]), min_size=1, max_size=2
        ),
        "Resource": st.lists(st.sampled_from(["*", "key/?", "key/1", "key/*2", "[k]*"]), min_size=1, max_size=2),
        "Condition": st.dictionaries(
            OPERATORS,
            st.dictionaries(KEYS, st.lists(TEXTS.filter(bool), min_size=1, max_size=3), min_size=1, max_size=2),
            max_size=2,
        ).map(lambda block: {op: {k: numeric(op, v) for k, v in lines.items()} for op, lines in block.items()}),
    }
)


@settings(max_examples=1500, deadline=None)
@given(
    statements=st.lists(STATEMENTS, min_size=1, max_size=4),
    action=st.sampled_from(["kms:Decrypt", "kms:GenerateDataKey", "s3:GetObject"]),
    resource=st.sampled_from(["key/1", "key/22", "bucket"]),
    context=st.dictionaries(KEYS, st.lists(TEXTS | st.sampled_from(["1", "3"]), min_size=1, max_size=3), max_size=3),
)
def test_the_evaluator_agrees_with_a_slow_reference(
    statements: list[dict[str, Any]], action: str, resource: str, context: dict[str, list[str]]
) -> None:
    """Two readings of AWS's rules, written apart, never differ."""
    given_context = {key: tuple(values) for key, values in context.items()}
    verdict = policy.evaluate([permission(*statements)], policy.Request(action, resource, given_context))
    assert verdict.allowed == reference(statements, action, resource, context)


def test_a_pattern_of_many_stars_takes_no_exponential_time() -> None:
    """A hostile subject cannot make a trust policy's pattern spin."""
    assert not conditions.like("a" * 5000, "*a" * 200 + "b")
    assert conditions.like("a" * 5000, "*a" * 200)
