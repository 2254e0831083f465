"""No request is lost while releases of three processes in two images follow each other: `make zero`."""
