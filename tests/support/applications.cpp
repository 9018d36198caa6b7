#include "tests/support/applications.h"

#include <stdexcept>

#include "tests/support/process.h"

namespace cppfcgi::test {
namespace {

constexpr char map_text[] = R"(MAP
  NAME "interop"
  STATUS ON
  SIZE 256 256
  EXTENT -10 -10 10 10
  UNITS DD
  IMAGECOLOR 240 248 255
  PROJECTION "init=epsg:4326" END
  WEB
    METADATA
      "wms_title" "interop"
      "wms_onlineresource" "http://127.0.0.1/map"
      "wms_srs" "EPSG:4326"
      "wms_enable_request" "*"
    END
  END
  LAYER
    NAME "areas"
    TYPE POLYGON
    STATUS ON
    FEATURE POINTS -8 -8 -8 2 3 4 5 -6 -8 -8 END END
    FEATURE POINTS 1 1 2 8 9 9 8 2 1 1 END END
    CLASS STYLE COLOR 120 180 90 OUTLINECOLOR 30 60 20 WIDTH 2 END END
    METADATA "wms_title" "areas" END
  END
  LAYER
    NAME "points"
    TYPE POINT
    STATUS ON
    FEATURE POINTS -5 5 -4 6 0 0 6 -7 END END
    CLASS STYLE COLOR 200 30 30 SIZE 8 END END
    METADATA "wms_title" "points" END
  END
END
)";

void vips(const std::vector<std::string>& arguments) {
  std::vector<std::string> command{"vips"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const auto result = run(command);
  if (result.status != 0) throw std::runtime_error("vips " + arguments.front() + ": " + result.output);
}

}  // namespace

Applications::Applications(const TempFolder& folder)
    : image_(folder / "image.tif"),
      map_file_(folder / "test.map"),
      mapserver_configuration_(folder / "mapserver.conf") {
  vips({"gaussnoise", folder / "noise.v", "2048", "1536", "--mean", "128", "--sigma", "40"});
  vips({"cast", folder / "noise.v", folder / "grey.v", "uchar"});
  vips({"tiffsave", folder / "grey.v", image_, "--tile", "--pyramid", "--compression", "jpeg", "--tile-width", "256",
        "--tile-height", "256"});
  write_file(map_file_, map_text);
  write_file(mapserver_configuration_,
             "CONFIG\n  ENV\n    MS_MAP_PATTERN \".\"\n    MS_MAPFILE \"" + map_file_ + "\"\n  END\nEND\n");
}

std::vector<std::string> Applications::iipimage_environment() const { return {"VERBOSITY=0", "LOGFILE=/dev/null"}; }

std::vector<std::string> Applications::mapserver_environment() const {
  return {"MAPSERVER_CONFIG_FILE=" + mapserver_configuration_};
}

std::string Applications::tile(int level, int number) const {
  return "FIF=" + image_ + "&JTL=" + std::to_string(level) + "," + std::to_string(number);
}

std::string Applications::image_info() const {
  return "FIF=" + image_ + "&obj=IIP,1.0&obj=Max-size&obj=Tile-size&obj=Resolution-number";
}

std::string Applications::iiif(const std::string& rest) const { return "IIIF=" + image_ + "/" + rest; }

std::string Applications::map(int width) const {
  return "SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=areas,points&STYLES=&SRS=EPSG:4326&BBOX=-10,-10,10,10&"
         "WIDTH=" +
         std::to_string(width) + "&HEIGHT=" + std::to_string(width) + "&FORMAT=image/png";
}

}  // namespace cppfcgi::test
