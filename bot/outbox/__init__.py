"""What is told beside GitHub: `sorting` decides who is owed what, `sending` brings it.

In: happenings. Out: messages to channels, requests to webhooks. Imports: web and down.
"""
