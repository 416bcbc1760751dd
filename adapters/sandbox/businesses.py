"""Which business each kind of company is in."""

from adapters.sandbox.banking import Banking
from adapters.sandbox.business import Business
from adapters.sandbox.companies import Airline, Bank, Company, Wallet
from adapters.sandbox.coupons import Coupons
from adapters.sandbox.mileage import Mileage


def business_of(participant: str, company: Company) -> Business:
    """The business of a company, by its kind."""
    match company:
        case Bank():
            return Banking(participant, company)
        case Wallet():
            return Coupons(participant, company)
        case Airline():
            return Mileage(participant, company)
