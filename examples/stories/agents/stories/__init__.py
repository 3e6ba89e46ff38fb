"""Stories: what users write for everybody to read.

publish_story -> (held, approved) -> story_published
"""
