"""What a reviewer of a pull request sees beside the plan. Read `gather.review_of` first."""
