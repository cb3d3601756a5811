#include "record/frame.h"

namespace odradek::record {

Result<Frame> next_frame(ByteView& rest) {
  auto header = peek_frame(rest);
  if (!header) return fail(std::move(header.error()));
  if (!*header || (*header)->total_size > rest.size()) return Frame();
  Frame frame(rest.first((*header)->total_size));
  rest = rest.subspan((*header)->total_size);
  return frame;
}

}  // namespace odradek::record
