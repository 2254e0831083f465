"""The app that is deployed: `web` and `api` for visitors, and a `worker` that is always alone."""

from __future__ import annotations

from tests.parts.engine import BASE_IMAGE

JOURNAL = "/state/journal"  # on a volume: what each worker wrote, when it began and when it had ended
GRACE = 60  # seconds, of which a worker's last piece of work takes a part, also where all is slow
# A piece of work is under way when SIGTERM comes; it is brought to its end, and only then the worker ends.
_WORK = r"""
say() { echo "$1 $(cat /version)" >> JOURNAL; }
trap 'say told; sleep 0.4; say ended; exit 0' TERM
say begun
while :; do sleep 1 & wait $!; done
""".replace("JOURNAL", JOURNAL)


def files(version: str) -> dict[str, str | None]:
    """A commit that says `version` at both of its routes."""
    return {
        ".blacktree.yml": _ENVIRONMENT,
        "web.dockerfile": _image("web", "index.html"),
        "api.dockerfile": _image("api", "api/index.html", "COPY work.sh /work.sh"),
        "web": f"web {version}\n",
        "api": f"api {version}\n",
        "version": f"{version}\n",
        "work.sh": _WORK,
    }


def _image(page: str, place: str, more: str = "") -> str:
    steps = [f"FROM {BASE_IMAGE}", f"COPY {page} /www/{place}", "COPY version /version", more, "EXPOSE 8080"]
    return "\n".join([*steps, 'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]', ""])


_ENVIRONMENT = f"""
images:
  web: {{dockerfile: web.dockerfile}}
  api: {{dockerfile: api.dockerfile}}
environments:
  production:
    image: api
    stability: 0
    drain: 3
    volumes: {{state: /state}}
    processes:
      web: {{image: web, grace: 1}}
      api: {{path: /api, grace: 1}}
      worker: {{command: [sh, /work.sh], overlap: false, grace: {GRACE}, health: {{lasts: 0.5}}}}
"""
