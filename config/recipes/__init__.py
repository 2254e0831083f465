"""How an image is built where nobody wrote a Dockerfile. In: a folder. Out: a Dockerfile, `.blacktree.yml`.

Imports: `config`; never the bot or the workers."""
