"""Partners: who keeps which venue, and who works there. A stand-in: only what others listen to; its own rules are not built yet."""

from streams.contract import Event, Name, Topic

PARTNERS = Topic("partners", key="venue_id")


class VenueVerified(Event, topic=PARTNERS):
    """The venue is where its partner says that it is."""

    venue_id: Name
    partner_id: Name
    city: Name


class StaffAdded(Event, topic=PARTNERS):
    """From now on the user acts for the partner at this venue."""

    venue_id: Name
    partner_id: Name
    user_id: Name


class StaffRemoved(Event, topic=PARTNERS):
    """The user does not act for the partner at this venue any more."""

    venue_id: Name
    partner_id: Name
    user_id: Name
