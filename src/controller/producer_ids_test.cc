// Blocks of producer ids.
#include "controller/controller.h"

#include <gtest/gtest.h>

#include "controller/controller_test_util.h"

namespace odradek::controller {
namespace {

TEST_F(ControllerTest, GivesBlocksOfProducerIdsThatNeverMeet) {
  start(0);
  start(1);
  auto ask = [&](int32_t id) {
    protocol::AllocateProducerIdsRequest request;
    request.broker_id = id;
    request.broker_epoch = broker(id).epoch;
    protocol::AllocateProducerIdsResponse response;
    active().allocate_producer_ids(request, [&](protocol::AllocateProducerIdsResponse answer) { response = std::move(answer); });
    runtime_.run_until_idle();
    return response;
  };
  EXPECT_EQ(ask(0).producer_id_start, 0);
  EXPECT_EQ(ask(1).producer_id_start, 1000);
  EXPECT_EQ(ask(1).producer_id_len, 1000);
  EXPECT_EQ(data_of("/latest_producer_id_block"), R"({"block_end":"2999","block_start":"2000","broker":1,"version":1})");
  int64_t epoch = std::exchange(broker(0).epoch, 1);
  EXPECT_EQ(ask(0).error_code, static_cast<int16_t>(ErrorCode::kStaleBrokerEpoch));
  broker(0).epoch = epoch;
}

}  // namespace
}  // namespace odradek::controller
