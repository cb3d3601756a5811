// A client of one of the two clusters of a mirror.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "client/cluster.h"
#include "mirror/lanes.h"

namespace odradek::mirror {

// `patience_ms`: how long one of its requests may be tried again. Errors: as client::Cluster::make.
Result<std::unique_ptr<client::Cluster>> connect(const Shared& shared, const std::string& bootstrap, int patience_ms = 15'000);

}  // namespace odradek::mirror
