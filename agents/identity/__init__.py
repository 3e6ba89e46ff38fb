"""Identity: the users, each known by an e-mail address, a telephone number or both, none of which two users share.

register -> user: started -> login: claimed | refused -> user: next login, registered | failed -> login: released; identity -> profile, login
governance: erasure -> user: forgotten -> login: released
"""
