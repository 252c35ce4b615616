"""Everything that is asked before anything is changed; what speaks against an upload is said here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from builder import commands, errors, tournament
from builder.registry import reference
from builder.text import sanitize
from builder.tournament import images as tournament_images
from builder.tournament import settings, slots, status
from builder.upload import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.registry import connections
    from builder.tournament import Account, DataVersion, DockerImage, Slot, Tournament, UploadedPickle
    from builder.upload.plan import UploadPlan, UploadRequest


def check_token(api: Tournament) -> None:
    """Refuse a token that may not upload, before anything else is asked.

    Raises:
        errors.TokenError: It lacks the scope, or is not known.
    """
    info = api.get_token_info()
    if tournament.UPLOAD_SCOPE not in info.scopes:
        raise errors.TokenError(
            f"the token {sanitize(info.name) or sanitize(info.public_id)} of {sanitize(info.username)} lacks the scope "
            f"{tournament.UPLOAD_SCOPE} (it has: {sanitize(', '.join(info.scopes)) or 'none'}); "
            f"{settings.CREDENTIALS_HINT}"
        )


def find_slot(account: Account, wish_slot: str, *, create: bool, origin: str = "") -> Slot | None:
    """Return the slot, or None where it is to be made under this name.

    Args:
        account: Whose slots.
        wish_slot: Its name or id.
        create: Make it where there is none.
        origin: What the name comes from if it was not typed, for the message.

    Raises:
        errors.UsageError: There is none, and none is to be made; or the name is invalid.
    """
    if not create:
        try:
            return slots.find_slot(account, wish_slot, origin=origin)
        except errors.UsageError as error:
            raise errors.UsageError(f"{error}; `--create` (make: CREATE=1) makes a new one") from error
    # Made by an earlier run that did not end, perhaps: then it is there, and is used.
    classic = [slot for slot in account.slots if slot.tournament == tournament.CLASSIC]  # names are unique in each
    found = slots.match_slot(dataclasses.replace(account, slots=tuple(classic)), wish_slot)
    fault = None if found else slots.find_name_problem(wish_slot)
    if fault:
        raise errors.UsageError(f"{sanitize(wish_slot)}: as a new slot's name it {fault}")
    return found


def make_plan(
    api: Tournament, account: Account, request: UploadRequest, registries: connections.Registries, host: str
) -> UploadPlan:
    """Read the rest and check it.

    Args:
        api: The tournament.
        account: As it was read.
        request: What is asked for.
        registries: Asked what the image's tag means now.
        host: Registry and folder of the tournament's images.

    Raises:
        errors.RefusedError: Something speaks against it; the message says what to do.
        errors.UsageError: There is no such slot or data version.
        errors.NetworkError: Something cannot be read.
    """
    slot = find_slot(account, request.slot, create=request.create)
    if slot is None:
        slots.check_new_slot(api, account, request.slot)
    else:
        _check_slot(slot, request)
    image, ref, notes = _check_image(api, request, registries, host)
    version = _check_data_version(api, request)
    if version.experimental:
        notes.append(f"data version {request.data_version} is experimental")
    found = find_upload(
        api, request.artifact.manifest.pickle.sha256, image=image.id, data_version=version.id, slot=slot
    )
    if found and status.judge_validation(found) is False and request.again:
        notes.append(f"an earlier upload of it failed: {plan.describe_pickle(found)}")
        found = None
    current, now = api.get_round()
    return plan.UploadPlan(
        request=request,
        account=account.username,
        slot=slot,
        name=slot.name if slot else request.slot,
        slots=(account.used_slots, account.max_slots),
        image=image,
        ref=ref,
        data_version=version,
        existing=found,
        round=current,
        now=now,
        notes=tuple(notes),
        other_slots=_sharing(account, request, slot, found),
    )


def refresh_round(api: Tournament, made: UploadPlan) -> UploadPlan:
    """Return a plan with the round as it is now: reading, comparing and answering took their time."""
    current, now = api.get_round()
    return dataclasses.replace(made, round=current, now=now)


def refresh_plan(api: Tournament, made: UploadPlan, pickle: UploadedPickle | None = None) -> UploadPlan:
    """Return a plan with the round and all stakes as they are now.

    Args:
        api: The tournament.
        made: The plan as it was shown.
        pickle: The record that is to be run, once there is one.
    """
    account, slot = api.get_account(), made.slot
    found = slots.match_slot(account, slot.id) if slot else None
    if slot and found:
        slot = dataclasses.replace(slot, stake=found.stake)  # what it ran is what was agreed to replace
    other_slots = _sharing(account, made.request, slot, pickle or made.existing)
    return refresh_round(api, dataclasses.replace(made, slot=slot, other_slots=other_slots))


def check_consent(api: Tournament, agreed: UploadPlan, slot: Slot, pickle: UploadedPickle | None = None) -> None:
    """Refuse to run a pickle if more follows by now than was agreed to: comparing, sending and validating take time.

    Args:
        api: The tournament.
        agreed: The plan that was agreed to.
        slot: The one that it is for, which the plan may not have known yet.
        pickle: The record that is to be run; None: registering it runs it.

    Raises:
        errors.RefusedError: A stake has come or changed, or a round has opened.
        errors.NetworkError: Slots or round cannot be read.
    """
    now = refresh_plan(api, dataclasses.replace(agreed, slot=agreed.slot or slot), pickle)
    if not now.exceeds(agreed):
        return
    known = {(one.id, one.stake) for one in agreed.staked}
    new = [one for one in now.staked if (one.id, one.stake) not in known]
    named = ", ".join(f"{sanitize(one.name)} (stake {sanitize(one.stake)})" for one in new)
    reason = f"it runs in {named} by now" if named else f"round {now.round.number if now.round else ''} is open by now"
    what = f"{pickle.id}: was not run" if pickle else f"{agreed.filename}: was not registered, which runs it"
    raise errors.RefusedError(f"{what}: {reason}, which was not agreed to; the same command again asks about it")


def _sharing(
    account: Account, request: UploadRequest, slot: Slot | None, existing: UploadedPickle | None
) -> tuple[Slot, ...]:
    """Return the other slots that run these bytes, under whatever record."""
    digits = request.artifact.manifest.pickle.sha256[:12]
    pickles = [one.pickle for one in account.slots if one.pickle and digits in one.pickle.filename]
    pickles += [existing] if existing else []
    found = {one.id: one for pickle in pickles for one in slots.find_slots_running(account, pickle)}
    return tuple(one for one in found.values() if slot is None or one.id != slot.id)


def find_upload(
    api: Tournament, sha256: str, *, image: str, data_version: str, slot: Slot | None
) -> UploadedPickle | None:
    """Return the upload of a pickle that is there for an image and a data version: a validated one before others.

    One that was uploaded for another slot of the account is as good: a pickle may run in several.
    """
    found = {one.id: one for one in (*(api.list_pickles(slot.id) if slot else ()), *api.list_pickles())}
    if slot and slot.pickle:
        found[slot.pickle.id] = slot.pickle
    matching = [
        one
        for one in found.values()
        if sha256[:12] in one.filename and (one.image_id, one.data_version_id) == (image, data_version)
    ]
    order = {True: 0, None: 1, False: 2}
    ours = slot.id if slot else ""
    return min(matching, key=lambda one: (order[status.judge_validation(one)], one.owner != ours), default=None)


def find_earlier_pickles(api: Tournament, slot: Slot) -> list[UploadedPickle]:
    """Return the valid pickles that were uploaded for a slot and that it does not run now, the newest first."""
    now = slot.pickle.id if slot.pickle else None
    return [one for one in api.list_pickles(slot.id) if status.judge_validation(one) is True and one.id != now]


def _check_slot(slot: Slot, request: UploadRequest) -> None:
    slots.check_usable(slot)
    if not request.clear_webhook:
        slots.check_no_webhook(slot, fix="`--clear-webhook` (make: CLEAR_WEBHOOK=1) takes it away")


def _check_image(
    api: Tournament, request: UploadRequest, registries: connections.Registries, host: str
) -> tuple[DockerImage, str, list[str]]:
    """Return the tournament's image that is the very one the pickle was made in."""
    made = request.artifact.manifest.image
    build_again = " and ".join(
        f"`{commands.suggest(name, request.artifact.folder)}`" for name in ("pickle", "validate")
    )
    images = api.list_images()
    offered = _candidates(made.ref, images, host)
    if not offered:
        usable = ", ".join(f"{one.image}:{one.tag}" for one in images if not one.deprecated)
        raise errors.RefusedError(
            f"{made.ref}, in which the pickle was made, is not among the tournament's images of {host} "
            f"({sanitize(usable)}); name one of them in the config (`python -m builder images`), then {build_again}"
        )
    other = ""
    for one in offered:
        ref = tournament_images.get_reference(one, host)
        digest = registries.resolve(ref).digest
        if digest == made.identity:
            return one, ref, _check_standing(one, images, made.ref, build_again)
        other = digest
    ref = tournament_images.get_reference(offered[0], host)
    raise errors.RefusedError(
        f"the pickle was made in {made.identity[:19]}..., and the tournament's {ref} is {other[:19]}... now: the tag "
        f"has moved; `make pin`, then {build_again}"
    )


def _candidates(ref: str, images: Sequence[DockerImage], host: str) -> list[DockerImage]:
    """Return the images that a reference may mean: by its tag, or, by digest alone, those of its repository."""
    tagged = tournament_images.find_image(ref, images, host)
    if tagged or reference.parse(ref).tag:
        return [tagged] if tagged else []
    name = reference.parse(settings.to_pull_reference(ref, host)).name
    return [one for one in images if reference.parse(tournament_images.get_reference(one, host)).name == name]


def _check_standing(one: DockerImage, images: Sequence[DockerImage], ref: str, build_again: str) -> list[str]:
    default = next((image for image in images if image.default), None)
    instead = f"{default.image}:{default.tag}" if default else "another"
    if one.deprecated:
        raise errors.RefusedError(
            f"{ref} is deprecated, and the tournament takes no pickles for it; name {sanitize(instead)} in the config, "
            f"then `make pin`, {build_again}"
        )
    if one.experimental:
        return [f"{sanitize(one.name)} is experimental; {sanitize(instead)} is the default"]
    return []


def _check_data_version(api: Tournament, request: UploadRequest) -> DataVersion:
    every = api.list_data_versions()
    found = next((one for one in every if request.data_version in {one.version, one.name}), None)
    usable = sanitize(", ".join(one.version or one.name for one in every if not one.deprecated)) or "none"
    if found is None:
        raise errors.UsageError(
            f"the tournament has no data version {request.data_version}; it offers {usable}: set data_version in "
            "the config"
        )
    if found.deprecated:
        raise errors.RefusedError(
            f"data version {request.data_version} is deprecated; the tournament offers {usable}: train on one of these "
            "and set data_version in the config"
        )
    return found
