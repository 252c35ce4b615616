"""Upload a validated pickle and assign it to a slot; on failure, restore the slot.

| module | what it does |
| --- | --- |
| ``local_checks`` | rejects pickles that must not be uploaded, without network access |
| ``remote_checks`` | reads everything from the API before anything is changed, and checks it |
| ``plan`` | describes what an upload would do and its consequences, for a person to confirm |
| ``slot_log`` | logs each step of a change before it is done, and locks a slot for one upload |
| ``storage`` | sends the file to a presigned URL |
| ``register`` | registers the file exactly once, even if responses are lost |
| ``deploy`` | runs the steps in order; each is safe to repeat |
| ``runs`` | starts a run exactly once |
| ``waiting`` | waits until a validation or a run has ended |
| ``compare`` | compares the predictions of the new pickle and of the slot's current one |
| ``assign`` | assigns a pickle and reads the slot back, or restores the previous pickle |
| ``webhook`` | removes a slot's webhook, or restores it |
| ``receipt`` | writes which bundle, pickle, image and slot belong together, from the log |
| ``old_records`` | moves the journals and receipts of version 0.1 into the logs |

The user's view of the same is ``docs/upload.md``.
"""
