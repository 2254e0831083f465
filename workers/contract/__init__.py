"""What bot and workers say to each other: messages, failures, the Queue port, RabbitMQ and memory behind it.

In: messages. Out: the same, elsewhere. Imports: no other room.
"""
