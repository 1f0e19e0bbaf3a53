"""A plan as the comment of a pull request on GitHub. Pure.

Read `comment.plan_comment` first. `escape` keeps text of specs, data and logs from becoming markup.
"""
