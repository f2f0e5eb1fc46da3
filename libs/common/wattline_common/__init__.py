"""What every part of Wattline shares: the contract's events and codec, the registry, the store, carbon, errors."""
