"""The worker: takes a job, builds or deploys it on its Docker engine, tells how it went.

At the top is the loop (worker, slot, heartbeat, running) and what every story has (attempt, tools).
"""
