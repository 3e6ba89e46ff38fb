"""Quests: what users set out to do, and what they earn by it: experience, levels, badges, streaks, places on leaderboards.

start, submit, verify -> quests -> run, task, player, badge_held
what happens to a user, here and in other domains -> observe_event -> tasks, challenges and streaks that ask for it -> quest_completed, xp_awarded
xp_awarded -> count_score -> leaderboard; its time -> leaderboard_period_closed -> award_badge
create_quest_party, invite -> party -> accept_party_invitation -> seat -> party_member_joined -> quest_party_started -> each member's run -> reward
quests that expire, streaks that break -> their time
"""
