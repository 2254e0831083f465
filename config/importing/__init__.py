"""What others' files say, as a `.blacktree.yml` says it. In: their texts. Out: `Found`, and what is left out.

Imports: the models of `config`; never the bot or the workers."""
