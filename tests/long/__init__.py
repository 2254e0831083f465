"""A build lasts for hours at a RabbitMQ that is as it comes: `make long`."""
