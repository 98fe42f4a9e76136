// A moment of the store that reads can go back to.
#pragma once

namespace vecino::storage {

// What was stored when it was taken stays readable through it, whatever is written or deleted
// later, but for dropped collections. While it lives compactions keep what it sees, so disks fill
// up with what was replaced since. Immutable; safe from any thread.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
};

}  // namespace vecino::storage
