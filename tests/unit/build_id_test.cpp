// The rules of worker/src/build_id.h.
#include "worker/src/build_id.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <link.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace cppfcgi {
namespace {

using Image = std::vector<unsigned char>;

template <class T>
void append(Image& image, const T& value) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&value);
  image.insert(image.end(), bytes, bytes + sizeof value);
}

// A program of headers and notes: one of another kind, then the build id.
Image program(std::uint32_t id_bytes = 3) {
  Image notes;
  append(notes, ElfW(Nhdr){.n_namesz = 4, .n_descsz = 5, .n_type = NT_GNU_PROPERTY_TYPE_0});
  for (const char c : std::string("GNU\0", 4) + std::string(8, 'p')) notes.push_back(static_cast<unsigned char>(c));
  append(notes, ElfW(Nhdr){.n_namesz = 4, .n_descsz = id_bytes, .n_type = NT_GNU_BUILD_ID});
  for (const char c : std::string("GNU\0\x01\x02\x03\x04", 8)) notes.push_back(static_cast<unsigned char>(c));
  Image image;
  ElfW(Ehdr) header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_phoff = sizeof header;
  header.e_phnum = 2;
  header.e_phentsize = sizeof(ElfW(Phdr));
  append(image, header);
  append(image, ElfW(Phdr){.p_type = PT_LOAD});
  ElfW(Phdr) segment{};
  segment.p_type = PT_NOTE;
  segment.p_offset = sizeof header + 2 * sizeof segment;
  segment.p_filesz = notes.size();
  append(image, segment);
  image.insert(image.end(), notes.begin(), notes.end());
  return image;
}

// In memory of exactly its size, for the address sanitizer.
std::string id_in(const Image& image, std::size_t bytes) {
  const auto copy = std::make_unique<unsigned char[]>(bytes);
  std::copy_n(image.begin(), bytes, copy.get());
  const auto id = find_build_id({copy.get(), bytes});
  return {id.begin(), id.end()};
}

TEST(BuildId, IsFoundAmongOtherNotes) {
  const Image image = program();
  EXPECT_EQ(id_in(image, image.size()), "\x01\x02\x03");
}

TEST(BuildId, IsNotFoundInPartsOfAProgram) {
  const Image image = program();
  for (std::size_t size = 0; size < image.size(); ++size) EXPECT_EQ(id_in(image, size), "") << size;
}

TEST(BuildId, IsNotFoundWhereItIsLongerThanItsPlace) {
  const Image image = program(0xffff'fff0);
  EXPECT_EQ(id_in(image, image.size()), "");
}

TEST(BuildId, IsNotFoundInWhatIsNoProgram) { EXPECT_EQ(id_in(Image(1'000, 0x7f), 1'000), ""); }

}  // namespace
}  // namespace cppfcgi
