#include "server/rpc/ingest_window.h"

#include <gtest/gtest.h>

namespace vecino::rpc {
namespace {

TEST(IngestWindowTest, HalvesWhenRefusedAndGrowsAgainByStepsAndNeverEnds) {
  IngestWindow window;
  EXPECT_EQ(window.documents(), IngestWindow::kMaxDocuments);
  for (int i = 0; i < 100; ++i) window.Refused();
  EXPECT_EQ(window.documents(), 1);
  EXPECT_EQ(window.bytes(), IngestWindow::kMinBytes);
  int before = window.documents();
  for (int i = 0; i < 20; ++i) {
    window.Done(0, IngestWindow::kMaxBytes);
    EXPECT_GT(window.documents(), before);
    before = window.documents();
  }
  for (int i = 0; i < 20; ++i) window.Done(0, IngestWindow::kMaxBytes);
  EXPECT_EQ(window.documents(), IngestWindow::kMaxDocuments);
  EXPECT_EQ(window.bytes(), IngestWindow::kMaxBytes);
}

TEST(IngestWindowTest, FollowsPressureAndTheShareOfMemory) {
  IngestWindow window;
  window.Done(0.5, IngestWindow::kMaxBytes);
  EXPECT_EQ(window.documents(), IngestWindow::kMaxDocuments / 2);
  EXPECT_EQ(window.bytes(), IngestWindow::kMaxBytes / 2);
  window.Done(1, IngestWindow::kMaxBytes);
  EXPECT_EQ(window.documents(), 1);
  EXPECT_EQ(window.bytes(), IngestWindow::kMinBytes);
  for (int i = 0; i < 40; ++i) window.Done(0, 1 << 20);
  EXPECT_EQ(window.bytes(), 1 << 20);
  for (int i = 0; i < 40; ++i) window.Done(0, 1);
  EXPECT_EQ(window.bytes(), IngestWindow::kMinBytes);
}

TEST(IngestWindowTest, IsToldWhenItIsNewOrMuchChanged) {
  IngestWindow window;
  EXPECT_TRUE(window.WorthTelling());
  window.Told();
  EXPECT_FALSE(window.WorthTelling());
  window.Done(0.05, IngestWindow::kMaxBytes);
  EXPECT_FALSE(window.WorthTelling());
  window.Done(0.2, IngestWindow::kMaxBytes);
  EXPECT_TRUE(window.WorthTelling());
}

}  // namespace
}  // namespace vecino::rpc
