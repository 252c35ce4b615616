"""``upload``: from a validated pickle on this disk to one that a slot runs, or to the slot as it was.

| module | what it does |
| --- | --- |
| ``local_checks`` | what is never uploaded, told without a network |
| ``remote_checks`` | all that is read before anything is changed, and what speaks against it |
| ``plan`` | what would be done, and what a person must know before saying yes |
| ``slot_log`` | what was done to a slot, recorded before each step; one upload at a time |
| ``storage`` | the bytes, to and from presigned addresses |
| ``register`` | from bytes to one record, whatever answers are lost |
| ``deploy`` | the steps themselves, each safe to run again |
| ``runs`` | a run ordered, once |
| ``waiting`` | a validation, or a run, until it is settled |
| ``compare`` | the new and the old pickle's predictions |
| ``assign`` | a slot's pickle changed and read back, or given back |
| ``webhook`` | a slot's webhook taken away, and put back |
| ``receipt`` | what was joined: bundle, pickle, image, slot; derived from the log |
| ``old_records`` | the journals and receipts of version 0.1, moved into the log |
"""
