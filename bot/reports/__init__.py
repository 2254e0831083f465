"""What is owed to GitHub and how it is told: `rows` owe it, `texts` say it, `reporter` sends it.

In: moves of jobs. Out: statuses, deployments, the living comment, reactions. Imports: github and down.
"""
