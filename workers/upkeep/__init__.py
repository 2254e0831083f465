"""What keeps a worker's machine well: what was left behind goes, disks have budgets, jobs find room.

In: the clock, heartbeats' answers. Out: less on the disk. Imports: deploy and down.
"""
