"""What nobody may read: the vault, repositories' secrets, the instance's own credentials.

In: plain words. Out: sealed rows, and plain words for whom they are meant. Imports: store.
"""
