/* The sample drive's ray caster for one pixel: `sample_drive_render` and its painters, a thread a pixel.
 *
 * Kept line by line to the numpy renderer, float or double where that one is (tests/test_tiny_training.py compares
 * their frames), so read that one for the reasons. Rain streaks are left out: training scenes have none. Compiled by
 * NVRTC for a GPU, or as C for tests. Must be compiled without contraction into fused multiply-adds.
 */
#ifdef __CUDACC_RTC__
#define DEVICE static __device__ __forceinline__
#else
#include <math.h>
#define DEVICE static inline
#endif

/* A row of the table of looks; colours are three numbers. Order as in tiny_render.py. */
enum { HORIZON_RGB = 0, ZENITH = 3, LIGHT = 6, HAZE = 9, SUN = 10, SUN_RGB = 13, GLOW = 16, ROAD = 18, GRASS = 21,
       SKYLINE = 24, GLASS = 27, WET = 30, LIT = 31, LOOKS = 32 };
/* A row of the tables of scenes and cars. */
enum { PALETTE = 0, CARS = 1, SEED = 2, SPEED = 3, SCENE = 4 };
enum { CAR_Y = 0, HEADING = 1, CAR_RED = 2, CAR = 5 };
enum { FORWARD = 0, RIGHT = 2, HALF_TAN = 4, CAMERA = 5 };

#define CAMERA_HEIGHT 2.2f
#define HORIZON 0.45
#define LANE 3.6f
#define ROAD_RIGHT (-5.4f)
#define ROAD_LEFT 9.0f
#define SIDEWALK 2.6f
#define FACADE_RIGHT (-10.4)
#define FACADE_LEFT 14.0
#define PLOT 18.0
#define FLOOR_M 3.3
#define FAR_M 900.0
#define BODY_TOP 1.05f
#define CABIN_TOP 1.75f

typedef struct { float x, y, norm, up, focal; const double *looks; } Ray;
typedef struct { int seen, side, end; float depth, x, y, z; } Hit;

DEVICE float clipf(float x, float low, float high) { return fminf(fmaxf(x, low), high); }

DEVICE void mixf(float *first, const double *second, float light_r, float light_g, float light_b, float weight) {
  first[0] = first[0] + ((float)second[0] * light_r - first[0]) * weight;
  first[1] = first[1] + ((float)second[1] * light_g - first[1]) * weight;
  first[2] = first[2] + ((float)second[2] * light_b - first[2]) * weight;
}

DEVICE unsigned mixed(unsigned state, long long key) {
  state = (state ^ (unsigned)(key & 0xFFFFFFFFLL)) * 0x9E3779B1u;
  state = (state ^ (state >> 15)) * 0x85EBCA6Bu;
  state = (state ^ (state >> 13)) * 0xC2B2AE35u;
  return state ^ (state >> 16);
}

DEVICE float unit(unsigned state) { return (float)(state >> 8) / 16777216.0f; }

DEVICE float haze(const Ray *ray, float distance) { return 1.0f - expf(-distance / (float)ray->looks[HAZE]); }

DEVICE void paint_sky(const Ray *ray, unsigned seed, float *image) {
  const double *looks = ray->looks;
  float elevation = fmaxf(ray->up, 0.0f) / ray->norm;
  float blend = powf(clipf(elevation / 0.75f, 0.0f, 1.0f), 0.7f);
  for (int i = 0; i < 3; i++) image[i] = (float)looks[HORIZON_RGB + i];
  mixf(image, looks + ZENITH, 1, 1, 1, blend);
  if (looks[GLOW] != 0.0) {
    float length = sqrtf(ray->norm * ray->norm + ray->up * ray->up);
    double angle = 1.0 - (ray->x * looks[SUN] + ray->y * looks[SUN + 1] + ray->up * looks[SUN + 2]) / length;
    mixf(image, looks + SUN_RGB, 1, 1, 1, (float)(looks[GLOW] * exp(-angle / looks[GLOW + 1])));
    mixf(image, looks + SUN_RGB, 1, 1, 1, (float)fmin(fmax((0.0016 - angle) / 0.0005, 0.0), 1.0));
  }
  float step = floorf(atan2f(ray->y, ray->x) * 57.29577951308232f / 3.0f);
  float open = clipf((fabsf(ray->y) / ray->norm - 0.15f) / 0.2f, 0.0f, 1.0f);
  float roof = (0.015f + 0.035f * unit(mixed(mixed(seed, 77), (long long)step))) * open;
  mixf(image, looks + SKYLINE, 1, 1, 1, elevation < roof ? 0.7f : 0.0f);
}

DEVICE float band(float y, float foot, float low, float high) {
  float half = (high - low) / 2, middle = (high + low) / 2;
  return clipf((half - fabsf(y - middle)) / foot + 0.5f, 0.0f, fminf(1.0f, 2 * half / foot));
}

DEVICE float line(float y, float foot, float at) { return band(y, foot, at - 0.09f, at + 0.09f); }

/* Dashes or joints that pass by: a mark of `length` m every `period` m. */
DEVICE void paint_mark(float *image, float value, const float *light, float weight, float x, float foot, float period,
                       float length) {
  if (!(weight > 0.01f)) return;
  float turned = fmodf(x + period / 2, period);
  if (turned < 0) turned += period;
  float offset = fabsf(turned - period / 2);
  float cover = clipf((length / 2 - offset) / foot + 0.5f, 0.0f, fminf(1.0f, length / foot));
  if (foot > period) cover = length / period;
  for (int i = 0; i < 3; i++) image[i] = image[i] + (value * light[i] - image[i]) * (cover * weight);
}

DEVICE float paint_ground(const Ray *ray, double ego_x, float *image) {
  const double *looks = ray->looks;
  float light[3] = {(float)looks[LIGHT], (float)looks[LIGHT + 1], (float)looks[LIGHT + 2]};
  float depth = -CAMERA_HEIGHT / ray->up, x = depth * ray->x, y = depth * ray->y;
  float side = depth / ray->focal, along = depth * depth / (CAMERA_HEIGHT * ray->focal);
  float foot_y = fabsf(ray->x) * side + fabsf(ray->y) * along + 1e-6f;
  float foot_x = fabsf(ray->y) * side + fabsf(ray->x) * along + 1e-6f;
  const double pavement[3] = {0.62, 0.60, 0.57}, kerb[3] = {0.80, 0.79, 0.76};
  const double white[3] = {0.97, 0.97, 0.95}, amber[3] = {0.95, 0.75, 0.15};
  float road = band(y, foot_y, ROAD_RIGHT, ROAD_LEFT);
  for (int i = 0; i < 3; i++) image[i] = (float)looks[GRASS + i] * light[i];
  mixf(image, pavement, light[0], light[1], light[2], band(y, foot_y, ROAD_RIGHT - SIDEWALK, ROAD_LEFT + SIDEWALK));
  mixf(image, kerb, light[0], light[1], light[2], band(y, foot_y, ROAD_RIGHT - 0.3f, ROAD_LEFT + 0.3f));
  mixf(image, looks + ROAD, light[0], light[1], light[2], road);
  mixf(image, white, light[0], light[1], light[2],
       fmaxf(line(y, foot_y, ROAD_RIGHT + 0.35f), line(y, foot_y, ROAD_LEFT - 0.35f)));
  mixf(image, amber, light[0], light[1], light[2],
       fmaxf(line(y, foot_y, 1.5f * LANE - 0.15f), line(y, foot_y, 1.5f * LANE + 0.15f)));
  if (looks[WET] != 0.0) {
    float flat = 1.0f / (1.0f + (CAMERA_HEIGHT / (depth * ray->norm)) * 3.0f);
    mixf(image, looks + HORIZON_RGB, 1, 1, 1, (float)looks[WET] * flat * road);
  }
  float far = haze(ray, depth * ray->norm), clear = 1.0f - far;
  mixf(image, looks + HORIZON_RGB, 1, 1, 1, far);
  float dashes = fmaxf(line(y, foot_y, -LANE / 2), line(y, foot_y, LANE / 2)) * clear;
  float joints = (band(y, foot_y, ROAD_RIGHT - SIDEWALK, ROAD_RIGHT - 0.3f) +
                  band(y, foot_y, ROAD_LEFT + 0.3f, ROAD_LEFT + SIDEWALK)) * clear;
  paint_mark(image, 0.96f, light, dashes, x + (float)ego_x, foot_x, 8.0f, 3.5f);
  paint_mark(image, 0.42f, light, joints, x + (float)ego_x, foot_x, 3.0f, 0.12f);
  return depth;
}

/* Where plot n's house begins and ends (m) and how tall it is. */
DEVICE void house(unsigned seed, int side, double plot, float *begin, float *end, float *tall) {
  long long n = (long long)plot;
  *begin = 1.0f + 3.0f * unit(mixed(mixed(mixed(seed, 1), side), n));
  *end = 17.0f - 3.0f * unit(mixed(mixed(mixed(seed, 2), side), n));
  float floors = 2.0f + floorf(4.0f * powf(unit(mixed(mixed(mixed(seed, 3), side), n)), 1.5f));
  *tall = unit(mixed(mixed(mixed(seed, 4), side), n)) < 0.12f ? 0.0f : floors * 3.3f + 0.6f;
}

/* Colour of a wall at `z` m: plaster, plinth, cornice, windows. foot: m a pixel; distance: m. */
DEVICE void paint_wall(const Ray *ray, unsigned seed, int side, double plot, double along, float tall, double shade,
                       double z, double foot, double distance, float *image) {
  const double facade[6][3] = {{0.72, 0.53, 0.42}, {0.80, 0.74, 0.60}, {0.62, 0.62, 0.66},
                               {0.55, 0.40, 0.36}, {0.68, 0.70, 0.62}, {0.78, 0.66, 0.52}};
  const double window_rgb[3] = {1.0, 0.84, 0.42};
  const double *looks = ray->looks;
  long long n = (long long)plot;
  int kind = (int)(unit(mixed(mixed(mixed(seed, 5), side), n)) * 6.0f);
  double level = floor(z / FLOOR_M), column = floor(along / 2.8);
  double z_in = z - level * FLOOR_M, u_in = along - column * 2.8;
  int trim = z < 0.7 || z > tall - 0.6f;
  int window = u_in > 0.7 && u_in < 2.2 && z_in > 1.0 && z_in < 2.7 && z < tall - 0.6f;
  unsigned key = mixed(mixed(mixed(seed, 6), side), n);
  key = mixed(mixed(key, (long long)(level + 64 * column)), (long long)(100 * shade));
  int lit = unit(key) < (float)looks[LIT];
  float sharp = (float)fmin(fmax(2 - foot / 0.7, 0.0), 1.0);
  float far = (float)(1 - exp(-distance / (float)looks[HAZE]));
  for (int i = 0; i < 3; i++) {
    double light = shade * (float)looks[LIGHT + i], pane = (float)looks[GLASS + i] * light;
    double colour = (float)facade[kind][i] * light * (trim ? 0.78 : 1.0);
    double mean = (float)looks[LIT] * (float)window_rgb[i] + (1 - looks[LIT]) * (float)looks[GLASS + i] * light;
    double near = window ? (lit ? (float)window_rgb[i] : pane) : colour;
    double blurred = colour + (mean - colour) * 0.28f;
    double seen = blurred + (near - blurred) * sharp;
    image[i] = (float)(seen + ((float)looks[HORIZON_RGB + i] - seen) * far);
  }
}

DEVICE void paint_houses(const Ray *ray, unsigned seed, double ego_x, float *image, float *depth_buffer) {
  int side = ray->y > 0;
  double front = side ? FACADE_LEFT : FACADE_RIGHT;
  double depth = fmin(fmax(front / ray->y, 0.0), 10 * FAR_M);
  double hit_x = depth * ray->x + ego_x, plot = floor(hit_x / PLOT), along = hit_x - plot * PLOT;
  float begin, end, tall, best_tall = 0, nearest = *depth_buffer;
  double best_depth = -1, best_plot = 0, best_along = 0, best_shade = 1;
  house(seed, side, plot, &begin, &end, &tall);
  double z = 2.2 + depth * ray->up;
  if (along >= begin && along <= end && tall > 0 && depth < FAR_M && z > 0 && z < tall && depth < nearest) {
    best_depth = depth, best_plot = plot, best_along = along - begin, best_tall = tall, best_shade = 1.0;
    nearest = (float)depth;
  }
  int step = ray->x > 0 ? 1 : -1;
  for (int ahead = 0; ahead < 3; ahead++) {
    double next = plot + step * ahead;
    house(seed, side, next, &begin, &end, &tall);
    double wall = ray->x == 0.0f ? -1.0 : (next * PLOT + (step > 0 ? begin : end) - ego_x) / ray->x;
    double behind = fabs(wall * ray->y) - fabs(front);
    z = 2.2 + wall * ray->up;
    if (wall > 0 && behind > 0 && behind < 14.0 && tall > 0 && wall < FAR_M && z > 0 && z < tall &&
        wall < nearest) {
      best_depth = wall, best_plot = next, best_along = behind, best_tall = tall, best_shade = 0.72;
      nearest = (float)wall;
    }
  }
  if (best_depth < 0) return;
  double distance = best_depth * ray->norm;
  paint_wall(ray, seed, side, best_plot, best_along, best_tall, best_shade, 2.2 + best_depth * ray->up,
             distance / ray->focal, distance, image);
  *depth_buffer = nearest;
}

DEVICE Hit cast_box(const Ray *ray, float depth_buffer, double x0, double y0, double x_low, double x_high,
                    double half_width, float z_low, float z_high) {
  Hit hit;
  float x1 = (float)(x0 + x_low) / ray->x, x2 = (float)(x0 + x_high) / ray->x;
  float y1 = (float)(y0 - half_width) / ray->y, y2 = (float)(y0 + half_width) / ray->y;
  float near_x = fminf(x1, x2), in = fmaxf(near_x, fminf(y1, y2)), out = fminf(fmaxf(x1, x2), fmaxf(y1, y2));
  float z_side = CAMERA_HEIGHT + in * ray->up;
  hit.side = z_side >= z_low && z_side <= z_high;
  float lid_depth = (float)((double)z_high - 2.2) / ray->up;
  hit.depth = hit.side ? in : lid_depth;
  int lid = lid_depth > in && lid_depth < out;
  hit.seen = (hit.side || lid) && in < out && in > 0 && hit.depth < depth_buffer * 1.0005f;
  hit.end = in == near_x;
  hit.x = hit.depth * ray->x - (float)x0;
  hit.y = hit.depth * ray->y - (float)y0;
  hit.z = CAMERA_HEIGHT + hit.depth * ray->up;
  return hit;
}

DEVICE void paint_hit(const Ray *ray, const Hit *hit, const double *colour, float *image, float *depth_buffer) {
  float far = haze(ray, hit->depth * ray->norm);
  for (int i = 0; i < 3; i++)
    image[i] = (float)(colour[i] + ((float)ray->looks[HORIZON_RGB + i] - colour[i]) * far);
  *depth_buffer = hit->depth;
}

DEVICE void paintwork(const Ray *ray, const double *car, const Hit *hit, double *colour) {
  double shade = hit->side ? (hit->end ? 0.82 : 0.92) : 1.0;
  for (int i = 0; i < 3; i++)
    colour[i] = (float)car[CAR_RED + i] * (0.6f + 0.4f * (float)ray->looks[LIGHT + i]) * shade;
}

DEVICE void paint_body(const Ray *ray, const double *car, double x, float *image, float *depth_buffer) {
  Hit hit = cast_box(ray, *depth_buffer, x, car[CAR_Y], -2.3, 2.3, 1.0, 0.0f, BODY_TOP);
  int flank = hit.side && !hit.end, front = hit.side && hit.end;
  float across = fabsf(hit.y), along = fabsf(fabsf(hit.x) - 1.45f);
  float hub = sqrtf(along * along + (hit.z - 0.36f) * (hit.z - 0.36f));
  int tyre = (flank && hub < 0.38f) || (front && across > 0.62f && hit.z < 0.3f);
  if (!hit.seen || !(!hit.side || hit.z > 0.3f || tyre)) return;
  double colour[3];
  paintwork(ray, car, &hit, colour);
  int rear = hit.x * (float)car[HEADING] < 0;
  const double lamp[2][3] = {{1.0, 0.98, 0.85}, {1.0, 0.10, 0.05}};
  int is_lamp = front && across > 0.55f && across < 0.92f && hit.z > 0.58f && hit.z < 0.84f;
  int is_plate = front && across < 0.3f && hit.z > 0.45f && hit.z < 0.6f;
  for (int i = 0; i < 3; i++) {
    if (tyre) colour[i] = 0.05f;
    if (flank && hub < 0.17f) colour[i] = 0.55f * (float)ray->looks[LIGHT + i];
    if (is_lamp) colour[i] = (float)lamp[rear][i];
    if (is_plate) colour[i] = 0.85f * (float)ray->looks[LIGHT + i];
  }
  paint_hit(ray, &hit, colour, image, depth_buffer);
}

DEVICE void paint_cabin(const Ray *ray, const double *car, double x, float *image, float *depth_buffer) {
  double low = car[HEADING] > 0 ? -1.7 : -0.9, high = car[HEADING] > 0 ? 0.9 : 1.7;
  Hit hit = cast_box(ray, *depth_buffer, x, car[CAR_Y], low, high, 0.9, BODY_TOP, CABIN_TOP);
  if (!hit.seen) return;
  float from_end = fminf(hit.x - (float)low, (float)high - hit.x);
  int pillar = hit.end ? 0.9f - fabsf(hit.y) < 0.12f
                       : from_end < 0.14f || fabsf(hit.x - (float)((low + high) / 2)) < 0.07f;
  int glass = hit.side && !pillar && hit.z > 1.11f && hit.z < 1.65f;
  double colour[3];
  paintwork(ray, car, &hit, colour);
  for (int i = 0; i < 3; i++)
    if (glass) colour[i] = (float)ray->looks[GLASS + i] * 0.6f * (float)ray->looks[LIGHT + i];
  paint_hit(ray, &hit, colour, image, depth_buffer);
}

DEVICE void cast_ray(const Ray *ray, const double *scene, const double *cars, const double *places, double time,
                     float *image) {
  unsigned seed = (unsigned)(long long)scene[SEED];
  int count = (int)scene[CARS];
  double ego_x = scene[SPEED] * time;
  float depth = 1e30f;
  if (ray->up >= 0) paint_sky(ray, seed, image);
  else depth = paint_ground(ray, ego_x, image);
  paint_houses(ray, seed, ego_x, image, &depth);
  for (int n = 0; n < count; n++) {
    Hit hit = cast_box(ray, depth, places[n], cars[n * CAR + CAR_Y], -2.55, 2.55, 1.2, 0.0f, 0.0f);
    if (!hit.seen) continue;
    float dark = 0.75f * clipf(fminf(2.55f - fabsf(hit.x), 1.2f - fabsf(hit.y)) / 0.4f, 0.0f, 1.0f);
    for (int i = 0; i < 3; i++) image[i] *= 1.0f - dark;
  }
  for (int n = 0; n < count; n++) {
    paint_body(ray, cars + n * CAR, places[n], image, &depth);
    paint_cabin(ray, cars + n * CAR, places[n], image, &depth);
  }
}

/* Pixel `index` of out [clips, views, frames, height, width, 3].
 * scenes [clips, SCENE]; cars [clips, 3, CAR]; places [clips, frames, 3], m; looks [palettes, LOOKS];
 * cameras [views, CAMERA]; times [frames], s. 2 x 2 rays a pixel. */
DEVICE void render_pixel(long long index, int views, int frames, int height, int width, const double *scenes,
                         const double *cars, const double *places, const double *looks, const double *cameras,
                         const double *times, unsigned char *out) {
  int column = (int)(index % width), row = (int)(index / width % height);
  long long rest = index / width / height;
  int frame = (int)(rest % frames), view = (int)(rest / frames % views);
  long long clip = rest / frames / views;
  const double *scene = scenes + clip * SCENE, *camera = cameras + view * CAMERA;
  double focal = width * 2 / 2.0 / camera[HALF_TAN];
  float sum[3] = {0, 0, 0};
  for (int sub = 0; sub < 4; sub++) {
    int u = 2 * column + sub % 2, v = 2 * row + sub / 2;
    float across = (float)((u + 0.5 - width) / focal);
    Ray ray;
    ray.up = (float)((HORIZON * (2 * height) - v - 0.5) / focal);
    ray.x = (float)camera[FORWARD] + across * (float)camera[RIGHT];
    ray.y = (float)camera[FORWARD + 1] + across * (float)camera[RIGHT + 1];
    ray.norm = sqrtf(1.0f + across * across);
    ray.focal = (float)focal;
    ray.looks = looks + (int)scene[PALETTE] * LOOKS;
    float image[3];
    cast_ray(&ray, scene, cars + clip * 3 * CAR, places + (clip * frames + frame) * 3, times[frame], image);
    for (int i = 0; i < 3; i++) sum[i] += image[i];
  }
  for (int i = 0; i < 3; i++) out[index * 3 + i] = (unsigned char)clipf(sum[i] / 4 * 255.0f + 0.5f, 0.0f, 255.0f);
}

#ifdef __CUDACC_RTC__
extern "C" __global__ void render(long long pixels, int views, int frames, int height, int width, const double *scenes,
                 const double *cars, const double *places, const double *looks, const double *cameras,
                 const double *times, unsigned char *out) {
  long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (index < pixels)
    render_pixel(index, views, frames, height, width, scenes, cars, places, looks, cameras, times, out);
}
#else
void render(long long pixels, int views, int frames, int height, int width, const double *scenes, const double *cars,
            const double *places, const double *looks, const double *cameras, const double *times,
            unsigned char *out) {
  for (long long index = 0; index < pixels; index++)
    render_pixel(index, views, frames, height, width, scenes, cars, places, looks, cameras, times, out);
}
#endif
