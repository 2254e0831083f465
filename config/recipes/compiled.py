"""Go, Rust, Java, .NET and Elixir: what is built in one stage and runs alone in another."""

from __future__ import annotations

import re

from config.recipes.folder import Folder
from config.recipes.recipe import Recipe, Unsure, version

_PORT = 8080
_GO = "1.25"  # https://go.dev/doc/devel/release; older modules are built by newer ones
_RUST = "1.90"
_JAVA = ("21", "17", "11", "8")  # https://www.oracle.com/java/technologies/java-se-support-roadmap.html
_DOTNET = ("9.0", "8.0")  # https://dotnet.microsoft.com/platform/support/policy/dotnet-core
_ELIXIR = "1.18"
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def go(folder: Folder) -> Recipe | None:
    if "go.mod" not in folder:
        return None
    found = re.search(r"^go[ \t]+([0-9]{1,4}\.[0-9]{1,4})", folder.text("go.mod"), re.MULTILINE)
    number = max(found[1] if found else "", _GO, key=_parts)
    mains = [path for path in folder.named(r"([\w.-]+/)*[\w.-]+\.go") if _is_main(folder.text(path))]
    places = list(dict.fromkeys(f"./{path.rpartition('/')[0]}".rstrip("/") for path in mains))
    package = "." if "." in places else places[0] if len(places) == 1 else None
    if package is None:
        said = f"there are several programs ({', '.join(places)})" if places else "there is no `package main`"
        raise Unsure(f"{said}: write a Dockerfile that says which to build, such as `go build ./cmd/NAME`")
    values = {"version": number, "package": package, "sum": "go.sum" in folder}
    seen = ("go.mod", *mains[:1])
    return Recipe("go", f"Go {number}", seen, values, ["/app"], _PORT)


def _parts(number: str) -> tuple[int, ...]:
    return tuple(map(int, filter(None, number.split("."))))


def _is_main(text: str) -> bool:
    """What `go build` passes by is no program: https://pkg.go.dev/cmd/go#hdr-Build_constraints"""
    if re.search(r"^//[ \t]*(?:go:build|\+build)[ \t]+ignore\b", text, re.MULTILINE):
        return False
    return bool(
        re.search(r"^package main\b", text, re.MULTILINE) and re.search(r"^func main\(", text, re.MULTILINE)
    )


def rust(folder: Folder) -> Recipe | None:
    if "Cargo.toml" not in folder:
        return None
    cargo = folder.toml("Cargo.toml")
    binaries = cargo.get("bin")
    names = (
        [one.get("name") for one in binaries if isinstance(one, dict)] if isinstance(binaries, list) else []
    )
    package = cargo.get("package")
    if not names and isinstance(package, dict):
        # https://doc.rust-lang.org/cargo/guide/project-layout.html
        mains = folder.named(r"src/bin/[\w-]+\.rs")
        names = [package.get("name")] if "src/main.rs" in folder else []
        names += [path.rpartition("/")[2].removesuffix(".rs") for path in mains]
        names = [package["default-run"]] if package.get("default-run") in names else names
        if not names:
            raise Unsure("Cargo.toml has no program, for there is no src/main.rs: write a Dockerfile")
    named = [str(name) for name in names if name and _NAME.fullmatch(str(name))]
    if len(named) != 1:
        said = "is a workspace or has several programs" if cargo else "can't be read"
        raise Unsure(
            f"Cargo.toml {said}: write a Dockerfile that says which to build (`cargo build --bin NAME`)"
        )
    found = re.search(
        r"([0-9]+\.[0-9]+)", folder.text("rust-toolchain.toml") or folder.text("rust-toolchain")
    )
    number = found[1] if found else _RUST
    values = {"version": number, "binary": named[0], "locked": "Cargo.lock" in folder}
    seen = tuple(filter(None, ("Cargo.toml", folder.first("Cargo.lock"))))
    return Recipe("rust", f"Rust {number}", seen, values, ["/app"], _PORT, ignored=("target",))


def java(folder: Folder) -> Recipe | None:
    gradle = folder.first("build.gradle", "build.gradle.kts")
    if "pom.xml" not in folder and not gradle:
        return None
    text = folder.text("pom.xml") or folder.text(gradle or "")
    found = re.search(
        r"<(?:java\.version|maven\.compiler\.(?:release|target|source)|release)>\s*(?:1\.)?([0-9]+)"
        r"|JavaLanguageVersion\.of\((?:1\.)?([0-9]+)\)|sourceCompatibility\D{1,40}(?:1[._])?([0-9]+)",
        text,
    )
    wanted = next(filter(None, found.groups()), "") if found else ""
    number = version(f">={wanted}" if wanted else "", _JAVA, _JAVA[0])
    tool = "Maven" if "pom.xml" in folder else "Gradle"
    wrapper = folder.first("mvnw") if tool == "Maven" else folder.first("gradlew")
    if tool == "Gradle" and not wrapper:
        raise Unsure("there is no gradlew: run `gradle wrapper`, and commit what it writes")
    boot = "org.springframework.boot" in text
    values = {"version": number, "tool": tool, "wrapper": bool(wrapper), "boot": boot}
    seen = tuple(filter(None, (folder.first("pom.xml") or gradle, wrapper)))
    command = ["java", "-XX:MaxRAMPercentage=75", "-jar", "/app/app.jar"]
    return Recipe(
        "java",
        f"Java {number} with {tool}",
        seen,
        values,
        command,
        _PORT,
        ignored=("target", "build", ".gradle"),
    )


def dotnet(folder: Folder) -> Recipe | None:
    projects = folder.named(r"([\w. -]+/)*[\w.-]+\.(cs|fs|vb)proj")
    if not projects:
        return None
    web = [path for path in projects if "Microsoft.NET.Sdk.Web" in folder.text(path)]
    if len(web or projects) != 1:
        raise Unsure(
            f"there are several projects ({', '.join((web or projects)[:5])}): write a Dockerfile for one"
        )
    project = (web or projects)[0]
    if not re.fullmatch(r"[\w./-]+", project):
        raise Unsure(f"{project} has blanks in its path: rename it, or write a Dockerfile")
    found = re.search(r"<TargetFramework>\s*net([0-9]+\.[0-9]+)", folder.text(project))
    number = found[1] if found else _DOTNET[1]
    assembly = re.search(r"<AssemblyName>\s*([\w.-]+)\s*<", folder.text(project))
    name = assembly[1] if assembly else project.rpartition("/")[2].rpartition(".")[0]
    values = {"version": number, "project": project, "web": bool(web)}
    command = ["dotnet", f"{name}.dll"]
    return Recipe(
        "dotnet", f".NET {number}", (project,), values, command, _PORT, ignored=("**/bin", "**/obj")
    )


def elixir(folder: Folder) -> Recipe | None:
    if "mix.exs" not in folder:
        return None
    text = folder.text("mix.exs")
    found = re.search(r"\bapp:\s*:([a-z][a-z0-9_]*)", text)
    if found is None:
        raise Unsure("mix.exs has no `app:`: write a Dockerfile with what `mix release` makes of it")
    phoenix = bool(re.search(r"\{:phoenix\b", text))
    values = {
        "version": _ELIXIR,
        "app": found[1],
        "assets": "assets.deploy" in text,
        "lock": "mix.lock" in folder,
        "phoenix": phoenix,
        "config": bool(folder.named(r"config/.*")),
    }
    seen = tuple(filter(None, ("mix.exs", folder.first("mix.lock"))))
    title = f"Elixir {_ELIXIR}{', Phoenix' if phoenix else ''}"
    command = [f"/app/bin/{found[1]}", "start"]
    return Recipe("elixir", title, seen, values, command, 4000, ignored=("_build", "deps"))
