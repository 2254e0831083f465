"""The instance's settings and the repository's `.blacktree.yml`. The ground: it imports nothing of ours."""
