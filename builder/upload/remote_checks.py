"""Read everything that an upload needs from the API, before anything is changed, and check it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from builder import commands, errors, tournament
from builder.registry import reference
from builder.text import sanitize
from builder.tournament import images as tournament_images
from builder.tournament import settings, slots, status, versions
from builder.upload import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.registry import connections
    from builder.tournament import Account, DataVersion, DockerImage, Slot, Tournament, UploadedPickle
    from builder.upload.plan import UploadPlan, UploadRequest


def check_token(api: Tournament) -> None:
    """Check that the token may upload; called first, so that a wrong token fails before other requests.

    Raises:
        errors.TokenError: The token is unknown, or does not have the scope.
    """
    info = api.get_token_info()
    if tournament.UPLOAD_SCOPE not in info.scopes:
        raise errors.TokenError(
            f"the token {sanitize(info.name) or sanitize(info.public_id)} of {sanitize(info.username)} does not have "
            f"the scope {tournament.UPLOAD_SCOPE} (it has: {sanitize(', '.join(info.scopes)) or 'none'}); "
            f"{settings.CREDENTIALS_HINT}"
        )


def find_slot(account: Account, text: str, *, create: bool, origin: str = "") -> Slot | None:
    """Return the slot to upload to, or None if a slot of this name is to be created.

    Args:
        account: The account to search.
        text: Name or id of the slot.
        create: Whether to create the slot if it does not exist.
        origin: The config key that the name comes from, for the message; empty if it was typed.

    Raises:
        errors.UsageError: The slot does not exist and is not to be created, or the name is invalid.
    """
    if not create:
        try:
            return slots.find_slot(account, text, origin=origin)
        except errors.UsageError as error:
            raise errors.UsageError(f"{error}; `--create` (make: CREATE=1) creates a new slot") from error
    # An interrupted upload may have created the slot: then use it. Names are unique only within one tournament.
    classic = [slot for slot in account.slots if slot.tournament == tournament.CLASSIC]
    slot = slots.match_slot(dataclasses.replace(account, slots=tuple(classic)), text)
    problem = None if slot else slots.find_name_problem(text)
    if problem:
        raise errors.UsageError(f"{sanitize(text)}: the name of the new slot {problem}")
    return slot


def make_plan(
    api: Tournament, account: Account, request: UploadRequest, registries: connections.Registries, host: str
) -> UploadPlan:
    """Check the slot, image and data version, and return what the upload would do.

    Args:
        api: The tournament.
        account: The account as read before.
        request: What the person wants to upload.
        registries: Resolve the image's tag to its current digest.
        host: Registry and folder of the tournament's images.

    Raises:
        errors.RefusedError: The upload is not allowed; the message says what to do.
        errors.UsageError: The slot or the data version does not exist.
        errors.NetworkError: The API or the registry cannot be read.
    """
    slot = find_slot(account, request.slot, create=request.create)
    if slot is None:
        slots.check_new_slot(api, account, request.slot)
    else:
        _check_slot(slot, request)
    image, ref, notes = _check_image(api, request, registries, host)
    version, version_notes = _check_data_version(api, request)
    sha256 = request.artifact.manifest.pickle.sha256
    existing = find_upload(api, sha256, image=image.id, data_version=version.id, slot=slot)
    if existing and status.judge_validation(existing) is False and request.again:
        notes.append(f"an earlier upload of it failed: {plan.describe_pickle(existing)}")
        existing = None
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
        existing=existing,
        round=current,
        now=now,
        notes=(*notes, *version_notes),
        other_slots=_find_other_slots(account, request, slot, existing),
    )


def refresh_round(api: Tournament, before: UploadPlan) -> UploadPlan:
    """Return a plan with the current round: it may have opened or closed since the plan was made."""
    current, now = api.get_round()
    return dataclasses.replace(before, round=current, now=now)


def refresh_plan(api: Tournament, before: UploadPlan, pickle: UploadedPickle | None = None) -> UploadPlan:
    """Return a plan with the current round and stakes.

    Args:
        api: The tournament.
        before: The plan as shown to the person.
        pickle: The registered pickle that will run; None before it is registered.
    """
    account, slot = api.get_account(), before.slot
    current = slots.match_slot(account, slot.id) if slot else None
    if slot and current:
        # Only the stake: the pickle in the slot must stay the one that the person agreed to replace.
        slot = dataclasses.replace(slot, stake=current.stake)
    other_slots = _find_other_slots(account, before.request, slot, pickle or before.existing)
    return refresh_round(api, dataclasses.replace(before, slot=slot, other_slots=other_slots))


def check_consent(api: Tournament, agreed: UploadPlan, slot: Slot, pickle: UploadedPickle | None = None) -> None:
    """Check, just before a run starts, that it still has no more consequences than the person agreed to.

    Comparing, sending and validating can take an hour, in which a round may open or a stake may be added.

    Args:
        api: The tournament.
        agreed: The plan that the person agreed to.
        slot: The slot to upload to, which may have been created after the plan was made.
        pickle: The registered pickle that will run; None if registering it starts the run.

    Raises:
        errors.RefusedError: A stake was added or changed, or a round opened.
        errors.NetworkError: The slots or the round cannot be read.
    """
    now = refresh_plan(api, dataclasses.replace(agreed, slot=agreed.slot or slot), pickle)
    if not now.exceeds(agreed):
        return
    agreed_stakes = {(staked.id, staked.stake) for staked in agreed.staked}
    new = [staked for staked in now.staked if (staked.id, staked.stake) not in agreed_stakes]
    names = ", ".join(f"{sanitize(staked.name)} (stake {sanitize(staked.stake)})" for staked in new)
    reason = f"it now runs in {names}" if names else f"round {now.round.number if now.round else ''} is now open"
    action = f"{pickle.id}: was not run" if pickle else f"{agreed.filename}: was not registered, which runs it"
    raise errors.RefusedError(
        f"{action}: {reason}, which you have not confirmed; run the same command again to be asked"
    )


def _find_other_slots(
    account: Account, request: UploadRequest, slot: Slot | None, existing: UploadedPickle | None
) -> tuple[Slot, ...]:
    """Return the other slots that run the same bytes, under this or another registered pickle."""
    # Slots whose pickles have equal bytes share one registered pickle, which a run may submit for all of them.
    digits = request.artifact.manifest.pickle.sha256[:12]
    pickles = [item.pickle for item in account.slots if item.pickle and digits in item.pickle.filename]
    pickles += [existing] if existing else []
    running = {item.id: item for pickle in pickles for item in slots.find_slots_running(account, pickle)}
    return tuple(item for item in running.values() if slot is None or item.id != slot.id)


def find_upload(
    api: Tournament, sha256: str, *, image: str, data_version: str, slot: Slot | None
) -> UploadedPickle | None:
    """Return an existing upload of a pickle for an image and a data version, preferring a validated one.

    It may have been uploaded for another slot of the account: one registered pickle can run in several slots.
    """
    # The API filters the list by the slot that a pickle was uploaded for, which need not be the one that runs it.
    pickles = {pickle.id: pickle for pickle in (*(api.list_pickles(slot.id) if slot else ()), *api.list_pickles())}
    if slot and slot.pickle:
        pickles[slot.pickle.id] = slot.pickle
    matching = [
        pickle
        for pickle in pickles.values()
        if sha256[:12] in pickle.filename and (pickle.image_id, pickle.data_version_id) == (image, data_version)
    ]
    order = {True: 0, None: 1, False: 2}  # by the verdict of its validation
    owner = slot.id if slot else ""
    return min(matching, key=lambda item: (order[status.judge_validation(item)], item.owner != owner), default=None)


def find_earlier_pickles(api: Tournament, slot: Slot) -> list[UploadedPickle]:
    """Return the valid pickles that were uploaded for a slot, without its current one, newest first."""
    current = slot.pickle.id if slot.pickle else None
    pickles = api.list_pickles(slot.id)
    return [pickle for pickle in pickles if status.judge_validation(pickle) is True and pickle.id != current]


def _check_slot(slot: Slot, request: UploadRequest) -> None:
    slots.check_usable(slot)
    if not request.clear_webhook:
        slots.check_no_webhook(slot, fix="`--clear-webhook` (make: CLEAR_WEBHOOK=1) removes it")


def _check_image(
    api: Tournament, request: UploadRequest, registries: connections.Registries, host: str
) -> tuple[DockerImage, str, list[str]]:
    """Return the tournament's image with the digest that the pickle was built in, its reference, and notes."""
    built_in = request.artifact.manifest.image
    build_again = " and ".join(
        f"`{commands.suggest(name, request.artifact.folder)}`" for name in ("pickle", "validate")
    )
    images = api.list_images()
    candidates = _find_candidates(built_in.ref, images, host)
    if not candidates:
        usable = ", ".join(f"{image.image}:{image.tag}" for image in images if not image.deprecated)
        raise errors.RefusedError(
            f"{built_in.ref}, in which the pickle was built, is not among the tournament's images of {host} "
            f"({sanitize(usable)}); set one of them in the config "
            f"(`{commands.suggest_plain('images')}`), then {build_again}"
        )
    # By digest, not by tag: a tag may have moved since the pickle was built, and another Python or numpy may crash it.
    digest = ""
    for image in candidates:
        ref = tournament_images.get_reference(image, host)
        digest = registries.resolve(ref).digest
        if digest == built_in.identity:
            return image, ref, _check_image_status(image, images, built_in.ref, build_again)
    ref = tournament_images.get_reference(candidates[0], host)
    raise errors.RefusedError(
        f"the pickle was built in {built_in.identity[:19]}..., but the tournament's {ref} is now {digest[:19]}...: the "
        f"tag has moved; `make pin`, then {build_again}"
    )


def _find_candidates(ref: str, images: Sequence[DockerImage], host: str) -> list[DockerImage]:
    """Return the images that a reference may mean: by its tag, or all of its repository if it has only a digest."""
    tagged = tournament_images.find_image(ref, images, host)
    if tagged or reference.parse(ref).tag:
        return [tagged] if tagged else []
    name = reference.parse(settings.to_pull_reference(ref, host)).name
    return [image for image in images if reference.parse(tournament_images.get_reference(image, host)).name == name]


def _check_image_status(image: DockerImage, images: Sequence[DockerImage], ref: str, build_again: str) -> list[str]:
    default = next((item for item in images if item.default), None)
    alternative = sanitize(f"{default.image}:{default.tag}" if default else "another")
    if image.deprecated:
        raise errors.RefusedError(
            f"{ref} is deprecated, and the tournament does not accept pickles for it; set {alternative} in the "
            f"config, then `make pin`, {build_again}"
        )
    if image.experimental:
        return [f"{sanitize(image.name)} is experimental; {alternative} is the default"]
    return []


def _check_data_version(api: Tournament, request: UploadRequest) -> tuple[DataVersion, tuple[str, ...]]:
    """Return the tournament's data version, and notes about it."""
    offered = api.list_data_versions()
    version = versions.find_version(request.data_version, offered)
    problem = versions.find_problem(request.data_version, offered)
    if version is None:
        raise errors.UsageError(f"{problem}; set data_version in the config")
    if problem:
        raise errors.RefusedError(f"{problem}; train on one of these and set data_version in the config")
    return version, versions.find_notes(request.data_version, offered)
